//! Orders, as an annotation: `kubectl annotate rollout shop --overwrite serin.dev/order="pause why=the database moves"`.
//!
//! An annotation and no field of `spec`, because `spec` is what a repository says, and a GitOps tool puts it back; annotations that the
//! repository does not have it leaves alone. The same text is obeyed once, whatever happens to the operator meanwhile: what was dealt
//! with is in the status. Who wants the same twice in a row adds a word of their own, `id=2`.

use serin_core::rollout::command::{Order, Verb};
use thiserror::Error;

/// The annotation with the order.
pub(crate) const ANNOTATION: &str = "serin.dev/order";

/// What is wrong with an order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub(crate) enum OrderError {
    #[error("{ANNOTATION}: {0:?} is none of {verbs}", verbs = verbs())]
    Verb(String),
    #[error(
        "{ANNOTATION}: {0:?} is none of step=NUMBER, for=TIME, by=NAME, id=ANYTHING, force, and why=... at the end"
    )]
    Word(String),
}

/// Reads an order, such as `hold for=10m by=ann why=the database moves`.
///
/// # Errors
/// It is none.
pub(crate) fn parse(text: &str) -> Result<Order, OrderError> {
    let (words, why) = match text.split_once("why=") {
        Some((words, why)) => (words, Some(why.trim().to_owned())),
        None => (text, None),
    };
    let mut words = words.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let known = Verb::ALL.into_iter().find(|known| word(*known) == verb);
    let verb = known.ok_or_else(|| OrderError::Verb(verb.to_owned()))?;
    let by = "an annotation".to_owned();
    let mut order = Order { verb, by, why, step: None, seconds: None, force: false };
    for word in words {
        take(&mut order, word).ok_or_else(|| OrderError::Word(word.to_owned()))?;
    }
    Ok(order)
}

fn take(order: &mut Order, word: &str) -> Option<()> {
    match word.split_once('=').unwrap_or((word, "")) {
        ("step", number) => order.step = Some(number.parse().ok()?),
        ("for", time) => order.seconds = Some(humantime::parse_duration(time).ok()?.as_secs()),
        ("by", name) if !name.is_empty() => order.by = name.to_owned(),
        ("id", _) => {}
        ("force", "") => order.force = true,
        _ => return None,
    }
    Some(())
}

/// A verb as people write it.
fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Pause => "pause",
        Verb::Hold => "hold",
        Verb::Resume => "resume",
        Verb::Approve => "approve",
        Verb::Advance => "advance",
        Verb::Promote => "promote",
        Verb::Abort => "abort",
        Verb::Undo => "undo",
        Verb::Retry => "retry",
    }
}

fn verbs() -> String {
    Verb::ALL.map(word).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_verb_and_what_belongs_to_it() {
        let order = parse("hold for=10m by=ann id=7 why=the database moves, see why=4711").unwrap();
        assert_eq!((order.verb, order.seconds, &*order.by), (Verb::Hold, Some(600), "ann"));
        assert_eq!(order.why.as_deref(), Some("the database moves, see why=4711"));
        let order = parse(" advance step=2 ").unwrap();
        assert_eq!((order.verb, order.step, order.force), (Verb::Advance, Some(2), false));
        assert!(parse("abort force").unwrap().force);
        for verb in Verb::ALL {
            assert_eq!(parse(word(verb)).unwrap().verb, verb);
        }
    }

    #[test]
    fn what_is_no_order_is_told() {
        for (text, expected) in [
            ("", "serin.dev/order: \"\" is none of pause, hold,"),
            ("puase", "serin.dev/order: \"puase\" is none of"),
            ("advance 2", "serin.dev/order: \"2\" is none of step=NUMBER"),
            ("hold for=soon", "serin.dev/order: \"for=soon\" is none of"),
            ("abort force=no", "serin.dev/order: \"force=no\" is none of"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
