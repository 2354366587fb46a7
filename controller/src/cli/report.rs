//! Tells events: as a live view, as lines, or as JSON.

use std::io::Write;
use std::time::Duration;

use console::Term;
use serin_core::rollout::event::{Event, RolloutStatus, TimedEvent};

use super::{text, view};

/// How events are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A view at the bottom of the terminal that is repainted, lines scrolling above it.
    Live,
    /// A line for each event.
    Plain,
    /// A JSON object for each event.
    Json,
}

/// Without a view, progress is told when nothing else was for so long.
const PLAIN_PROGRESS: Duration = Duration::from_secs(10);

/// Tells events on standard output.
pub(super) struct Reporter {
    format: Format,
    term: Term,
    /// Lines of the view that are on the terminal.
    painted: usize,
    /// When a line was last told.
    told: Duration,
}

impl Reporter {
    pub(super) fn new(format: Format) -> Self {
        if format == Format::Json {
            console::set_colors_enabled(false);
        }
        Self { format, term: Term::buffered_stdout(), painted: 0, told: Duration::ZERO }
    }

    /// Tells an event. Nobody listening (a closed pipe) is no reason to stop a rollout.
    pub(super) fn event(&mut self, at: Duration, event: &Event) {
        let told = match (self.format, event) {
            (Format::Json, event) => Self::json(at, event),
            (Format::Live, Event::Progress(status)) => self.repaint(at, status),
            (Format::Plain, Event::Progress(_)) if at < self.told + PLAIN_PROGRESS => Ok(()),
            _ => self.lines(at, &text::lines(at, event)),
        };
        let _ = told;
    }

    fn json(at: Duration, event: &Event) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &TimedEvent { at: at.as_secs_f64(), event })?;
        writeln!(out)
    }

    fn lines(&mut self, at: Duration, lines: &[String]) -> std::io::Result<()> {
        self.told = at;
        self.term.clear_last_lines(self.painted)?;
        self.painted = 0;
        for line in lines {
            self.term.write_line(line)?;
        }
        self.term.flush()
    }

    fn repaint(&mut self, at: Duration, status: &RolloutStatus) -> std::io::Result<()> {
        self.term.clear_last_lines(self.painted)?;
        let width = usize::from(self.term.size().1);
        let lines = view::view(at, status);
        for line in &lines {
            // A line that wraps would be two when it comes to clearing.
            self.term.write_line(&console::truncate_str(line, width, "…"))?;
        }
        self.painted = lines.len();
        self.term.flush()
    }
}
