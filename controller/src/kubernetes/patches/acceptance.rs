//! Whether the gateways have taken a route over, by the status that they write into it.
//!
//! Each parent of a route (a gateway, or a Service in a mesh) gets a status from each controller that serves it. Only what was said about the
//! present generation of the object counts: a status of the one before says nothing about the weights just written.

use serde_json::Value;

use super::FieldError;
use super::field::Field;

/// The conditions that have to be true.
const CONDITIONS: [&str; 2] = ["Accepted", "ResolvedRefs"];

/// What the parents of a route say about the object as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// All have taken it over.
    Accepted,
    /// One has not said anything about it yet.
    Waiting {
        /// Which, and what is missing.
        why: String,
    },
    /// One does not take it, or finds no backend.
    Refused {
        /// Its name.
        parent: String,
        /// Its word for machines, such as `BackendNotFound`.
        reason: String,
        /// Its word for people.
        message: String,
    },
}

impl Acceptance {
    /// Reads the status of an HTTPRoute or GRPCRoute.
    ///
    /// # Errors
    /// The object does not have the form of one; with the path.
    pub fn of(object: &Value) -> Result<Self, FieldError> {
        let object = Field::root(object);
        let metadata = object.required("metadata")?;
        let generation = generation(&metadata, "generation")?;
        let namespace = metadata.get("namespace");
        let namespace = namespace.map(|field| field.text()).transpose()?;
        let statuses = object.get("status").and_then(|status| status.get("parents"));
        let statuses = statuses.map_or(Ok(Vec::new()), |parents| parents.list())?;
        let parents = object.required("spec")?.required("parentRefs")?;
        let mut waiting = None;
        for parent in parents.list()? {
            let parent = ParentRef::of(&parent, namespace)?;
            match parent.acceptance(&statuses, namespace, generation)? {
                Self::Accepted => {}
                Self::Waiting { why } => waiting = waiting.or(Some(why)),
                refused @ Self::Refused { .. } => return Ok(refused),
            }
        }
        Ok(waiting.map_or(Self::Accepted, |reason| Self::Waiting { why: reason }))
    }
}

/// What a `parentRef` names, with the defaults in place of what it leaves out.
#[derive(PartialEq, Eq)]
struct ParentRef<'o> {
    group: &'o str,
    kind: &'o str,
    namespace: Option<&'o str>,
    name: &'o str,
    section: Option<&'o str>,
    port: Option<u32>,
}

impl<'o> ParentRef<'o> {
    fn of(reference: &Field<'o>, namespace: Option<&'o str>) -> Result<Self, FieldError> {
        let text = |name| reference.get(name).map(|field| field.text()).transpose();
        Ok(Self {
            group: text("group")?.unwrap_or("gateway.networking.k8s.io"),
            kind: text("kind")?.unwrap_or("Gateway"),
            namespace: text("namespace")?.or(namespace),
            name: reference.required("name")?.text()?,
            section: text("sectionName")?,
            port: reference.get("port").map(|port| port.number()).transpose()?,
        })
    }

    /// What this parent's controllers say.
    fn acceptance(
        &self,
        statuses: &[Field<'o>],
        namespace: Option<&'o str>,
        generation: u64,
    ) -> Result<Acceptance, FieldError> {
        let mut waiting =
            Some(format!("{} has not said anything about the route yet", self.name()));
        for status in statuses {
            if ParentRef::of(&status.required("parentRef")?, namespace)? != *self {
                continue;
            }
            let conditions = status.get("conditions");
            let conditions = conditions.map_or(Ok(Vec::new()), |list| list.list())?;
            for wanted in CONDITIONS {
                match self.condition(wanted, &conditions, generation)? {
                    Acceptance::Accepted => {}
                    other => return Ok(other),
                }
            }
            waiting = None;
        }
        Ok(waiting.map_or(Acceptance::Accepted, |reason| Acceptance::Waiting { why: reason }))
    }

    fn condition(
        &self,
        wanted: &str,
        conditions: &[Field<'o>],
        present: u64,
    ) -> Result<Acceptance, FieldError> {
        let of_type =
            |field: &&Field<'_>| field.value.get("type").is_some_and(|name| name == wanted);
        let Some(condition) = conditions.iter().find(of_type) else {
            let why = format!("{} has not said {wanted} yet", self.name());
            return Ok(Acceptance::Waiting { why });
        };
        let about = generation(condition, "observedGeneration")?;
        let text = |name| condition.get(name).map_or(Ok(""), |field| field.text());
        let status = condition.required("status")?.text()?;
        Ok(match status {
            _ if about < present => {
                let name = self.name();
                let why = format!(
                    "{name} has not looked at generation {present} yet ({wanted} is of {about})"
                );
                Acceptance::Waiting { why }
            }
            "True" => Acceptance::Accepted,
            "False" => Acceptance::Refused {
                parent: self.name(),
                reason: text("reason")?.to_owned(),
                message: text("message")?.to_owned(),
            },
            _ => {
                let why = format!("{}: {wanted} is {status}: {}", self.name(), text("message")?);
                Acceptance::Waiting { why }
            }
        })
    }

    fn name(&self) -> String {
        let mut name = format!("{} {}", self.kind, self.name);
        if let Some(section) = self.section {
            name.push_str(&format!(" ({section})"));
        }
        name
    }
}

/// The number of a version of the object; 0 if absent, which is before the first.
fn generation(of: &Field<'_>, name: &str) -> Result<u64, FieldError> {
    let Some(field) = of.get(name) else { return Ok(0) };
    field.value.as_u64().ok_or_else(|| field.fault("not a whole number from 0 on"))
}

#[cfg(test)]
mod tests;
