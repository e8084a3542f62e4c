//! What came out: counts and failures for whoever ran it, and the list of deviations for whoever comes from Envoy.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::case::Case;
use super::deviation::{Deviation, Kind, Verdict, is_like};

/// The counts, and every failure with its story.
pub fn told(verdicts: &BTreeMap<String, Verdict>) -> String {
    let count = |wanted: fn(&Verdict) -> bool| verdicts.values().filter(|verdict| wanted(verdict)).count();
    let mut text = String::new();
    for (name, verdict) in verdicts {
        if let Verdict::Fails(story) = verdict {
            let _ = writeln!(text, "FAILS {name}\n    {story}");
        }
    }
    let _ = write!(
        text,
        "differ: {} cases: {} agree, {} deviate as written, {} fail",
        verdicts.len(),
        count(|verdict| *verdict == Verdict::Agrees),
        count(|verdict| *verdict == Verdict::Deviates),
        count(|verdict| matches!(verdict, Verdict::Fails(_))),
    );
    text
}

/// `integration/differ.md`.
pub fn table(cases: &[Case], deviations: &[Deviation]) -> String {
    let mut text = "# Where Outrigger's proxy does not do what Envoy does

The same xDS resources are given to Envoy 1.40 and to Outrigger's proxy, and the same calls to both, before one scripted
upstream. Statuses, fields, bodies, what the upstream saw of each attempt, and when things end are the same, but for what
stands here. The test `differ` of `integration/tests/it` holds both to it: what is not written here must not differ, and
what is must differ exactly so. The cases are in [`differ/`](differ), in Envoy's own words.

"
    .to_owned();
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        *files.entry(case.name.split(':').next().unwrap_or_default()).or_default() += 1;
    }
    let each: Vec<String> = files.iter().map(|(file, count)| format!("{file} {count}")).collect();
    let deviating = |deviation: &Deviation| {
        let like = |case: &&Case| deviation.cases.iter().any(|pattern| is_like(pattern, &case.name));
        cases.iter().filter(like).count()
    };
    let _ = writeln!(text, "{} cases: {}.\n", cases.len(), each.join(", "));
    for (kind, title) in [(Kind::Deliberate, "Meant"), (Kind::Defect, "Known defects")] {
        let _ = writeln!(text, "## {title}\n");
        let mut some = deviations.iter().filter(|deviation| deviation.kind == kind).peekable();
        if some.peek().is_none() {
            let _ = writeln!(text, "None.\n");
            continue;
        }
        let _ = writeln!(text, "| what | Envoy | Outrigger | why | cases |\n|---|---|---|---|---|");
        for one in some {
            let cell = |text: &str| text.trim().replace('\n', " ").replace('|', "\\|");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                cell(&one.what),
                cell(&one.envoy),
                cell(&one.ours),
                cell(&one.why),
                deviating(one)
            );
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "This page is written by `OUTRIGGER_WRITE=1 cargo test --workspace --test it differ::the_list`."
    );
    text
}
