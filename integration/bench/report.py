#!/usr/bin/env python3
"""Turns the medians that bench.py wrote (FOLDER/plain.json, policy.json, h2.json, conns.json) into a page of Markdown:
for each workload every subject's figures, and beside Outrigger's the ratio to Envoy in the same run and the target."""
import json, pathlib, platform, re, subprocess, sys

# (workload, figure): the most (or for max_rps the least) that Outrigger may come to; "x" is relative to Envoy.
TARGETS = {
    ("plain", "max_rps"): (3.2, "x"), ("plain", "cpu_us"): (0.32, "x"), ("plain", "p99_us"): (0.6, "x"), ("plain", "rss_mib"): (24, "MiB"),
    ("policy", "max_rps"): (2.8, "x"), ("policy", "cpu_us"): (0.40, "x"), ("policy", "p99_us"): (0.6, "x"), ("policy", "rss_mib"): (32, "MiB"),
    ("h2", "max_rps"): (2.2, "x"), ("h2", "cpu_us"): (0.50, "x"), ("h2", "p99_us"): (0.6, "x"), ("h2", "rss_mib"): (24, "MiB"),
    ("cache", "max_rps"): (4.0, "x"),
    ("conns", "conn_kib"): (1.0, "x"),
}
UNITS = {"max_rps": "requests/s", "busy_pct": "its core, % busy then", "cpu_us": "CPU us a request", "p50_us": "p50 us", "p99_us": "p99 us", "p999_us": "p99.9 us",
         "rss_mib": "resident MiB", "conn_kib": "KiB a connection"}


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def verdict(workload, figure, ours, envoy):
    target = TARGETS.get((workload, figure))
    if target is None:
        return f"{ours / envoy:.2f} x" if envoy else ""
    bound, kind = target
    reached = ours / envoy if kind == "x" else ours
    kept = reached >= bound if figure == "max_rps" else reached <= bound
    sign = ">=" if figure == "max_rps" else "<="
    return f"{reached:.2f} {kind}, {'kept' if kept else '**missed**'} ({sign} {bound} {kind})"


def machine():
    cpu = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return f"{cpu.group(1) if cpu else platform.machine()}, Linux {platform.release()}, commit {commit or 'unknown'}"


def main():
    folder = pathlib.Path(sys.argv[1])
    print("# Side by side with Envoy 1.40\n")
    print("Written by `integration/bench/run`: one worker on one core, origin and load on another, medians of the rounds, all of a table in one run.\n")
    print(f"Machine: {machine()}.")
    for workload in ("plain", "policy", "h2", "cache", "conns"):
        path = folder / f"{workload}.json"
        if not path.exists():
            continue
        medians = json.loads(path.read_text())
        names = list(medians)
        print(f"\n## {workload}\n\n| | {' | '.join(names)} | Outrigger to Envoy | to bare |\n|---|{'---:|' * len(names)}---|---|")
        for figure, unit in UNITS.items():
            row = [medians[n].get(figure) for n in names]
            if all(v is None for v in row):
                continue
            ours, envoy = (medians.get(n, {}).get(figure) for n in ("outrigger", "envoy"))
            last = verdict(workload, figure, ours, envoy) if ours is not None and envoy is not None else ""
            bare = medians.get("bare", {}).get(figure)
            floor = f"{ours / bare:.2f} x" if ours is not None and bare else ""
            print(f"| {unit} | {' | '.join('' if v is None else number(v) for v in row)} | {last} | {floor} |")
        bad = {n: int(m["bad"]) for n, m in medians.items() if m.get("bad")}
        if bad:
            print(f"\nResponses that were not 200: {bad}.")


if __name__ == "__main__":
    main()
