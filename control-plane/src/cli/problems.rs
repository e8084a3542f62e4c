//! How problems of documents are printed: one line each, in the way compilers do, so that editors can jump to them.

use outrigger_config::error::Code;

use super::text::{Paint, Tone, counted, printable};
use crate::api::ProblemView;

/// `FILE:LINE:COLUMN: error ORG007 KIND NAME: PATH: "VALUE": REASON`, each part only where it is known.
pub(super) fn line(problem: &ProblemView, paint: Paint) -> String {
    let mut line = String::new();
    if let Some(at) = &problem.location {
        if !at.file.is_empty() {
            line.push_str(&format!("{}:", printable(&at.file)));
        }
        line.push_str(&format!("{}:{}: ", at.line, at.column));
    }
    let (word, tone) = if is_error(problem) { ("error", Tone::Bad) } else { ("warning", Tone::Warning) };
    line.push_str(&paint.tone(tone, &format!("{word} {}", problem.code)));
    if !problem.object.is_empty() {
        line.push_str(&format!(" {}", printable(&problem.object)));
    }
    line.push_str(": ");
    if !problem.path.is_empty() {
        line.push_str(&format!("{}: ", printable(&problem.path)));
    }
    if let Some(value) = &problem.value {
        line.push_str(&format!("\"{}\": ", printable(value)));
    }
    line.push_str(&printable(&problem.reason));
    line
}

/// Whether the problem refuses the document, as opposed to a warning.
pub(super) fn is_error(problem: &ProblemView) -> bool {
    Code::ALL.iter().find(|code| code.as_str() == problem.code).is_none_or(|code| code.is_error())
}

/// `2 errors, 1 warning`.
pub(super) fn summary(problems: &[ProblemView]) -> String {
    let errors = problems.iter().filter(|problem| is_error(problem)).count();
    let warnings = problems.len() - errors;
    match (errors, warnings) {
        (0, 0) => "no problems".to_owned(),
        (errors, 0) => counted(errors, "error"),
        (0, warnings) => counted(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Paint, line, summary};
    use crate::api::{LocationView, ProblemView};

    #[test]
    fn a_problem_is_a_line_an_editor_can_jump_to() {
        let mut problem = ProblemView {
            code: "ORG006".into(),
            object: "HTTPRoute shop/catalog".into(),
            path: "spec.x".into(),
            value: Some("\x1b".into()),
            reason: "must be longer".into(),
            location: Some(LocationView { file: "a.yaml".into(), line: 3, column: 9 }),
        };
        let expected = "a.yaml:3:9: error ORG006 HTTPRoute shop/catalog: spec.x: \"\u{fffd}\": must be longer";
        assert_eq!(line(&problem, Paint(false)), expected);
        problem = ProblemView { code: "ORG014".into(), location: None, value: None, ..problem };
        let expected = "\x1b[33mwarning ORG014\x1b[0m HTTPRoute shop/catalog: spec.x: must be longer";
        assert_eq!(line(&problem, Paint(true)), expected);
        assert_eq!(summary(&[problem.clone(), ProblemView { code: "ORG001".into(), ..problem }]), "1 error, 1 warning");
    }
}
