//! Orders, as an annotation: `kubectl annotate servicerollout shop --overwrite serin.dev/command="pause reason=the database moves"`.
//!
//! An annotation and no field of `spec`, because `spec` is what a repository says, and a GitOps tool puts it back; annotations that the
//! repository does not have it leaves alone. The same text is obeyed once, whatever happens to the operator meanwhile: what was dealt
//! with is in the status. Who wants the same twice in a row adds a word of their own, `id=2`.

use serin_core::rollout::command::{Action, Command};
use thiserror::Error;

/// The annotation with the order.
pub(crate) const ANNOTATION: &str = "serin.dev/command";

/// What is wrong with an order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub(crate) enum CommandError {
    #[error("{ANNOTATION}: {0:?} is none of {verbs}", verbs = action_names())]
    UnknownAction(String),
    #[error(
        "{ANNOTATION}: {0:?} is none of step=NUMBER, for=TIME, by=NAME, id=ANYTHING, force, and reason=... at the end"
    )]
    UnknownOption(String),
}

/// Reads an order, such as `pause-for for=10m by=ann reason=the database moves`.
///
/// # Errors
/// It is none.
pub(crate) fn parse(text: &str) -> Result<Command, CommandError> {
    let (words, reason) = match text.split_once("reason=") {
        Some((words, why)) => (words, Some(why.trim().to_owned())),
        None => (text, None),
    };
    let mut words = words.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let known = Action::ALL.into_iter().find(|known| action_name(*known) == verb);
    let action = known.ok_or_else(|| CommandError::UnknownAction(verb.to_owned()))?;
    let by = "an annotation".to_owned();
    let mut command = Command { action, by, reason, step: None, seconds: None, force: false };
    for word in words {
        take(&mut command, word).ok_or_else(|| CommandError::UnknownOption(word.to_owned()))?;
    }
    Ok(command)
}

fn take(command: &mut Command, word: &str) -> Option<()> {
    match word.split_once('=').unwrap_or((word, "")) {
        ("step", number) => command.step = Some(number.parse().ok()?),
        ("for", time) => command.seconds = Some(humantime::parse_duration(time).ok()?.as_secs()),
        ("by", name) if !name.is_empty() => command.by = name.to_owned(),
        ("id", _) => {}
        ("force", "") => command.force = true,
        _ => return None,
    }
    Some(())
}

/// A verb as people write it.
fn action_name(action: Action) -> &'static str {
    match action {
        Action::Pause => "pause",
        Action::PauseFor => "pause-for",
        Action::Resume => "resume",
        Action::Approve => "approve",
        Action::Advance => "advance",
        Action::Promote => "promote",
        Action::Abort => "abort",
        Action::Undo => "undo",
        Action::Retry => "retry",
    }
}

fn action_names() -> String {
    Action::ALL.map(action_name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_verb_and_what_belongs_to_it() {
        let command =
            parse("pause-for for=10m by=ann id=7 reason=the database moves, see reason=4711")
                .unwrap();
        assert_eq!(
            (command.action, command.seconds, &*command.by),
            (Action::PauseFor, Some(600), "ann")
        );
        assert_eq!(command.reason.as_deref(), Some("the database moves, see reason=4711"));
        let command = parse(" advance step=2 ").unwrap();
        assert_eq!(
            (command.action, command.step, command.force),
            (Action::Advance, Some(2), false)
        );
        assert!(parse("abort force").unwrap().force);
        for verb in Action::ALL {
            assert_eq!(parse(action_name(verb)).unwrap().action, verb);
        }
    }

    #[test]
    fn what_is_no_order_is_told() {
        for (text, expected) in [
            ("", "serin.dev/command: \"\" is none of pause, pause-for,"),
            ("puase", "serin.dev/command: \"puase\" is none of"),
            ("advance 2", "serin.dev/command: \"2\" is none of step=NUMBER"),
            ("pause-for for=soon", "serin.dev/command: \"for=soon\" is none of"),
            ("abort force=no", "serin.dev/command: \"force=no\" is none of"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
