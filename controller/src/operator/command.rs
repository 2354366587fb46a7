//! Commands in an annotation:
//!
//! ```text
//! kubectl annotate servicerollout shop --overwrite serin.dev/command="pause reason=maintenance"
//! ```
//!
//! A command is not a field of `spec`: a GitOps tool resets `spec` to the repository's, but keeps
//! annotations that the repository does not set. The status has the last handled command, so the
//! operator executes the same text once, even after a restart. To repeat a command, add a word
//! such as `id=2`.

use serin_core::rollout::command::{Action, Command};
use thiserror::Error;

/// The annotation with the command.
pub(crate) const ANNOTATION: &str = "serin.dev/command";

/// A command is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub(crate) enum CommandError {
    #[error("{ANNOTATION}: {0:?} is not one of {verbs}", verbs = Action::verbs())]
    UnknownAction(String),
    #[error(
        "{ANNOTATION}: {0:?} is not one of step=NUMBER, for=TIME, by=NAME, id=ANYTHING, force, and reason=... at the end"
    )]
    UnknownOption(String),
}

/// Parses a command, such as `pause-for for=10m by=ann reason=the database moves`.
///
/// # Errors
/// It is invalid.
pub(crate) fn parse(text: &str) -> Result<Command, CommandError> {
    let (words, reason) = match text.split_once("reason=") {
        Some((words, reason)) => (words, Some(reason.trim().to_owned())),
        None => (text, None),
    };
    let mut words = words.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let action = verb.parse().map_err(|_| CommandError::UnknownAction(verb.to_owned()))?;
    let by = "an annotation".to_owned();
    let mut command = Command { action, by, reason, step: None, seconds: None, force: false };
    for word in words {
        set_option(&mut command, word)
            .ok_or_else(|| CommandError::UnknownOption(word.to_owned()))?;
    }
    Ok(command)
}

fn set_option(command: &mut Command, word: &str) -> Option<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_action_with_its_options() {
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
            assert_eq!(parse(verb.verb()).unwrap().action, verb);
        }
    }

    #[test]
    fn invalid_commands_are_rejected() {
        for (text, expected) in [
            ("", "serin.dev/command: \"\" is not one of pause, pause-for,"),
            ("puase", "serin.dev/command: \"puase\" is not one of"),
            ("advance 2", "serin.dev/command: \"2\" is not one of step=NUMBER"),
            ("pause-for for=soon", "serin.dev/command: \"for=soon\" is not one of"),
            ("abort force=no", "serin.dev/command: \"force=no\" is not one of"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
