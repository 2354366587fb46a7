//! Which of several proxies are not as they should be, by name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serin_filter::names::Generation;

/// What a proxy is called: as discovery, or whoever collects its statistics, calls it.
pub type ProxyName = Arc<str>;

/// The proxies that a look was about. Of a lone proxy nobody is named: what there is to say of it is in the sighting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetHealth {
    /// How many there are.
    pub proxies: usize,
    /// Those that could not be read.
    pub unreachable: Vec<Unreachable>,
    /// Those that run an older generation than others do, or have refused one.
    pub outdated: Vec<Outdated>,
    /// Those that run the newest generation, but not yet, as far as is known, in every worker.
    pub unconfirmed: Vec<ProxyName>,
    /// Those of which no worker has reported for a while.
    pub silent: Vec<ProxyName>,
    /// What else the user should know: that the list of proxies can't be renewed, for example.
    pub warning: Option<String>,
}

/// A proxy that could not be read. How it does is unknown, which is neither good nor bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Which.
    pub name: ProxyName,
    /// What went wrong.
    pub reason: String,
    /// For how long it has not been read.
    pub since: Duration,
    /// The generation that it ran when it was last read; `None` if it never was.
    pub generation: Option<Generation>,
}

/// A proxy that does not run what others run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// Which.
    pub name: ProxyName,
    /// The generation that it runs; `None` if no filter has reported.
    pub generation: Option<Generation>,
    /// Whether it has refused a configuration since it took this one.
    pub rejected: bool,
}

impl FleetHealth {
    /// Whether every proxy runs this generation in every worker. Of those that can't be read, it is enough that they did when they were
    /// last read: a proxy does not go back by itself.
    #[must_use]
    pub fn confirms(&self, generation: Generation) -> bool {
        self.unconfirmed.is_empty()
            && self.outdated.iter().all(|behind| behind.generation == Some(generation))
            && self.unreachable.iter().all(|lost| lost.generation == Some(generation))
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            Some(generation) => write!(f, "{} (generation {generation})", self.name),
            None => write!(f, "{} (no serin filter)", self.name),
        }
    }
}
