//! Finds the routes of a rollout in an object.
//!
//! Istio and the Gateway API share one structure under two names: an object has a list of routes,
//! a route a list of weighted entries. A route belongs to the rollout if it has an entry of each
//! version and no other: serin can't know the share of a third.

use std::fmt::Display;

use serde_json::Value;
use serin_core::config::mesh::Versions;

use super::field::{Field, user_message};
use super::routes::{RolloutRoute, RolloutRoutes, WEIGHT, WeightEntry};
use super::{Edits, FieldError};

/// How a kind of object names the destinations of a version.
pub(super) trait WeightedBackend: Display {
    /// The group in its `apiVersion`.
    const GROUP: &'static str;
    /// The group's kinds that have such routes.
    const KINDS: &'static [&'static str];
    /// The field of `spec` with the routes.
    const ROUTES: &'static str;
    /// The field of a route with the weighted entries.
    const ENTRIES: &'static str;
    /// The default weight of an entry among several.
    const DEFAULT_WEIGHT: u32;

    /// Whether an entry is this version's, in an object of this namespace.
    fn matches(&self, entry: &Field<'_>, namespace: Option<&str>) -> Result<bool, FieldError>;
}

/// Finds the routes of a rollout.
pub(super) fn find_routes<T: WeightedBackend>(
    object: &Value,
    versions: &Versions<T>,
) -> Result<RolloutRoutes, FieldError> {
    let object = Field::root(object);
    check_kind::<T>(&object)?;
    let namespace = object.get("metadata").and_then(|metadata| metadata.get("namespace"));
    let namespace = namespace.map(|field| field.text()).transpose()?;
    let list = object.required("spec")?.required(T::ROUTES)?;
    let (mut pairs, mut baseline_only) = (Vec::new(), Vec::new());
    for route in list.list()? {
        let Some(entries) = route.get(T::ENTRIES) else { continue };
        match RouteMatch::of(&entries, versions, namespace)? {
            RouteMatch::Pair(pair) => pairs.push(pair),
            RouteMatch::Baseline => baseline_only.push(entries),
            RouteMatch::Other => {}
        }
    }
    if pairs.is_empty() {
        return Err(list.fault(no_route_message(versions, &baseline_only)));
    }
    Ok(RolloutRoutes { edits: Edits::of(&object), routes: pairs })
}

fn check_kind<T: WeightedBackend>(object: &Field<'_>) -> Result<(), FieldError> {
    let version = object.required("apiVersion")?;
    let text = version.text()?;
    if text.split_once('/').is_none_or(|(group, _)| group != T::GROUP) {
        return Err(version.fault(format!("{text:?} is not of {}", T::GROUP)));
    }
    let kind = object.required("kind")?;
    let text = kind.text()?;
    if !T::KINDS.contains(&text) {
        return Err(kind.fault(format!("{text:?} is not {}", T::KINDS.join(" or "))));
    }
    Ok(())
}

/// The role of a route in a rollout.
enum RouteMatch {
    Pair(RolloutRoute),
    /// It has only the baseline.
    Baseline,
    /// It belongs to something else. A route with the candidate and without the baseline is one
    /// for testers.
    Other,
}

impl RouteMatch {
    fn of<T: WeightedBackend>(
        entries: &Field<'_>,
        versions: &Versions<T>,
        namespace: Option<&str>,
    ) -> Result<Self, FieldError> {
        let list = entries.list()?;
        let Versions { baseline, candidate } = versions;
        let baselines = serving(&list, baseline, namespace)?;
        let candidates = serving(&list, candidate, namespace)?;
        let (first, second) = match (&*baselines, &*candidates) {
            ([_], []) if list.len() == 1 => return Ok(Self::Baseline),
            ([], _) | (_, []) => return Ok(Self::Other),
            ([first], [second]) => (*first, *second),
            ([_, second, ..], _) => return Err(duplicate_entry(baseline, second)),
            (_, [_, second, ..]) => return Err(duplicate_entry(candidate, second)),
        };
        if first.0 == second.0 {
            let problem =
                format!("{baseline} and {candidate} both match this entry. Use distinct names");
            return Err(first.1.fault(problem));
        }
        let mut entry = list.iter().enumerate();
        if let Some((_, third)) = entry.find(|(index, _)| ![first.0, second.0].contains(index)) {
            return Err(third.fault(format!(
                "neither {baseline} nor {candidate}: a rollout has two versions. Move the others to another route"
            )));
        }
        Ok(Self::Pair(RolloutRoute {
            path: entries.path.clone(),
            read: entries.value.clone(),
            baseline: weight_entry::<T>(first)?,
            candidate: weight_entry::<T>(second)?,
        }))
    }
}

/// An entry and its index.
type Indexed<'l, 'o> = (usize, &'l Field<'o>);

/// The entries of a version.
fn serving<'l, 'o, T: WeightedBackend>(
    entries: &'l [Field<'o>],
    version: &T,
    namespace: Option<&str>,
) -> Result<Vec<Indexed<'l, 'o>>, FieldError> {
    let mut serving = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if version.matches(entry, namespace)? {
            serving.push((index, entry));
        }
    }
    Ok(serving)
}

fn duplicate_entry(version: &impl WeightedBackend, second: &Indexed<'_, '_>) -> FieldError {
    second.1.fault(format!("{version} has two entries. Merge them"))
}

fn weight_entry<T: WeightedBackend>(
    (index, entry): Indexed<'_, '_>,
) -> Result<WeightEntry, FieldError> {
    let weight = entry.get(WEIGHT).map(|weight| weight.number()).transpose()?;
    Ok(WeightEntry {
        index,
        weight: weight.unwrap_or(T::DEFAULT_WEIGHT),
        explicit: weight.is_some(),
    })
}

/// Why no route matches, and how to fix it.
fn no_route_message<T: WeightedBackend>(
    versions: &Versions<T>,
    baseline_only: &[Field<'_>],
) -> String {
    let Versions { baseline, candidate } = versions;
    match baseline_only.first() {
        Some(route) => format!(
            "no route has both {baseline} and {candidate}. Add {candidate} to {}, with weight 0",
            user_message(&route.path)
        ),
        None => format!(
            "no route has both {baseline} and {candidate}. Check the object and the names of both versions"
        ),
    }
}
