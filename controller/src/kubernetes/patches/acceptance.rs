//! Whether the gateways have accepted a route, by the status that they write into it.
//!
//! Each parent of a route (a gateway, or a Service in a mesh) gets a status from each controller
//! that serves it. Only a status of the object's present generation counts: an older one does not
//! cover the weights just written.

use serde_json::Value;

use super::FieldError;
use super::field::Field;

/// The conditions that have to be true.
const CONDITIONS: [&str; 2] = ["Accepted", "ResolvedRefs"];

/// The parents' state of the present route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// All parents have accepted it.
    Accepted,
    /// A parent has not reported on it yet.
    Waiting {
        /// The parent, and the missing condition.
        reason: String,
    },
    /// A parent rejects it, or finds no backend.
    Refused {
        /// The parent's name.
        parent: String,
        /// The condition's reason, such as `BackendNotFound`.
        reason: String,
        /// The condition's message.
        message: String,
    },
}

impl Acceptance {
    /// Reads the status of an HTTPRoute or GRPCRoute.
    ///
    /// # Errors
    /// A field has the wrong type; with the path.
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
                Self::Waiting { reason } => waiting = waiting.or(Some(reason)),
                refused @ Self::Refused { .. } => return Ok(refused),
            }
        }
        Ok(waiting.map_or(Self::Accepted, |reason| Self::Waiting { reason }))
    }
}

/// The parent of a `parentRef`, with defaults for absent fields.
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

    /// The state that this parent's controllers report.
    fn acceptance(
        &self,
        statuses: &[Field<'o>],
        namespace: Option<&'o str>,
        generation: u64,
    ) -> Result<Acceptance, FieldError> {
        let mut waiting = Some(format!("{} has not reported on the route yet", self.name()));
        for status in statuses {
            if ParentRef::of(&status.required("parentRef")?, namespace)? != *self {
                continue;
            }
            let conditions = status.get("conditions");
            let conditions = conditions.map_or(Ok(Vec::new()), |list| list.list())?;
            for name in CONDITIONS {
                match self.condition(name, &conditions, generation)? {
                    Acceptance::Accepted => {}
                    other => return Ok(other),
                }
            }
            waiting = None;
        }
        Ok(waiting.map_or(Acceptance::Accepted, |reason| Acceptance::Waiting { reason }))
    }

    fn condition(
        &self,
        name: &str,
        conditions: &[Field<'o>],
        present: u64,
    ) -> Result<Acceptance, FieldError> {
        let parent = self.name();
        let of_type = |field: &&Field<'_>| field.value.get("type").is_some_and(|it| it == name);
        let Some(condition) = conditions.iter().find(of_type) else {
            return Ok(Acceptance::Waiting {
                reason: format!("{parent} has not reported {name} yet"),
            });
        };
        let about = generation(condition, "observedGeneration")?;
        let text = |name| condition.get(name).map_or(Ok(""), |field| field.text());
        let status = condition.required("status")?.text()?;
        Ok(match status {
            _ if about < present => Acceptance::Waiting {
                reason: format!(
                    "{parent} has not observed generation {present} yet ({name} is of {about})"
                ),
            },
            "True" => Acceptance::Accepted,
            "False" => Acceptance::Refused {
                parent,
                reason: text("reason")?.to_owned(),
                message: text("message")?.to_owned(),
            },
            _ => Acceptance::Waiting {
                reason: format!("{parent}: {name} is {status}: {}", text("message")?),
            },
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

/// The generation of the object; 0 if absent, which is before the first.
fn generation(of: &Field<'_>, name: &str) -> Result<u64, FieldError> {
    let Some(field) = of.get(name) else { return Ok(0) };
    field.value.as_u64().ok_or_else(|| field.fault("not a whole number from 0 on"))
}

#[cfg(test)]
mod tests;
