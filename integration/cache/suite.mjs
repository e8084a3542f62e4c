// The http-cache-tests suite, taken apart: its origin on a port of loopback, and its tests against a proxy before it.
//
//   node suite.mjs origin PORT
//   node suite.mjs run BASE_URL [TEST_ID...]     one line a test: id, kind, outcome, message, with tabs between
//
// PACKAGES is the folder with node_modules (integration/cache/package.json). Kinds are the suite's: `required` by the
// standard, `optimal` (allowed, and of use), `check` (a question without a wrong answer). Outcomes: `pass`, `fail`, `no`
// (a question answered in the negative), `setup` (its conditions could not be made), `untested` (one that it builds on
// failed).
import http from 'node:http'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const packages = path.resolve(process.env.PACKAGES || '.', 'node_modules')
const load = file => import(pathToFileURL(path.join(packages, file)).href)

async function origin (port) {
  const parts = { config: 'config', test: 'test', state: 'state' }
  for (const name of Object.keys(parts)) {
    parts[name] = (await load(`http-cache-tests/server/handle-${name}.mjs`)).default
  }
  const server = http.createServer((request, response) => {
    const [, part, ...rest] = new URL(request.url, 'http://localhost').pathname.split('/')
    const handle = parts[part]
    if (handle) return handle(rest, request, response)
    response.writeHead(404).end()
  })
  // What it says of each test goes nowhere: hundreds run at once.
  console.log = () => {}
  server.listen(port, '127.0.0.1')
}

async function run (base, wanted) {
  const { runTests, getResults } = await load('http-cache-tests/client/runner.mjs')
  const suites = (await load('http-cache-tests/tests/index.mjs')).default
  const fetch = (await load('node-fetch/lib/index.mjs')).default
  const named = test => wanted.length === 0 || wanted.includes(test.id)
  const chosen = suites.map(suite => ({ ...suite, tests: suite.tests.filter(named) }))
  const log = console.log
  console.log = () => {}
  await runTests(chosen, fetch, false, base, 400)
  console.log = log
  const results = getResults()
  for (const test of chosen.flatMap(suite => suite.tests)) {
    if (!(test.id in results)) continue
    const kind = test.kind || 'required'
    const result = results[test.id]
    const builds = (test.depends_on || []).filter(id => id in results)
    let outcome = 'pass'
    if (result !== true) outcome = result[0] === 'Setup' ? 'setup' : kind === 'check' ? 'no' : 'fail'
    if (outcome !== 'pass' && builds.some(id => results[id] !== true)) outcome = 'untested'
    const message = result === true ? '' : String(result[1]).replace(/\s+/g, ' ')
    console.log([test.id, kind, outcome, message].join('\t'))
  }
}

const [, , what, where, ...ids] = process.argv
if (what === 'origin') await origin(Number(where))
else await run(where, ids)
