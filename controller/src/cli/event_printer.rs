//! Prints events: as a live view, as lines, or as JSON.

use std::io::Write;
use std::time::Duration;

use console::Term;
use serin_core::rollout::event::{Event, RolloutStatus, TimedEvent};

use super::output::OutputFormat;
use super::{text, view};

/// Interval of progress lines while there are no other events and no view.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Prints events on standard output.
pub(super) struct EventPrinter {
    format: OutputFormat,
    /// Whether a view at the bottom of the terminal is repainted, with lines scrolling above it.
    live: bool,
    term: Term,
    /// Lines of the view on the terminal.
    painted: usize,
    /// Time of the last line.
    last_line: Duration,
}

impl EventPrinter {
    /// Shows progress in a live view if standard output is a terminal.
    pub(super) fn live(format: OutputFormat) -> Self {
        let live = format == OutputFormat::Text && console::user_attended();
        Self { live, ..Self::new(format) }
    }

    pub(super) fn new(format: OutputFormat) -> Self {
        if format == OutputFormat::Json {
            console::set_colors_enabled(false);
        }
        let term = Term::buffered_stdout();
        Self { format, live: false, term, painted: 0, last_line: Duration::ZERO }
    }

    /// Prints an event. A closed pipe does not stop a rollout.
    pub(super) fn event(&mut self, at: Duration, event: &Event) {
        let _ = match (self.format, event) {
            (OutputFormat::Json, event) => Self::json(at, event),
            (_, Event::Progress(status)) if self.live => self.repaint(at, status),
            (_, Event::Progress(_)) if at < self.last_line + PROGRESS_INTERVAL => Ok(()),
            _ => self.lines(at, &text::lines(at, event)),
        };
    }

    fn json(at: Duration, event: &Event) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &TimedEvent { at: at.as_secs_f64(), event })?;
        writeln!(out)
    }

    fn lines(&mut self, at: Duration, lines: &[String]) -> std::io::Result<()> {
        self.last_line = at;
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
            // Clearing would miss the second half of a line that wraps.
            self.term.write_line(&console::truncate_str(line, width, "…"))?;
        }
        self.painted = lines.len();
        self.term.flush()
    }
}
