//! What shall change in an object, and what was read to decide it.

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, Patch, PatchError, PatchOperation, ReplaceOperation, TestOperation,
};
use serde_json::Value;

use super::field::Field;

/// Changes to an object that depend on what was read of it.
///
/// A server refuses them as a whole (409 or 422) if the object has changed since, even to what it was before: who writes has to
/// read again and decide again. A late write of a controller that has lost its lease can't undo another's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Edits {
    /// What must still be so.
    read: Vec<(PointerBuf, Value)>,
    changes: Vec<FieldChange>,
}

#[derive(Debug, Clone, PartialEq)]
struct FieldChange {
    path: PointerBuf,
    value: Value,
    /// Whether there is nothing yet in its place.
    new: bool,
}

impl Edits {
    /// None yet, to an object as it was read: with its `resourceVersion`, if a server gave it one.
    pub(super) fn of(object: &Field<'_>) -> Self {
        let version = object.get("metadata").and_then(|metadata| metadata.get("resourceVersion"));
        let read = version.map(|field| (field.path, field.value.clone()));
        Self { read: read.into_iter().collect(), changes: Vec::new() }
    }

    /// What was read at a place must still be there.
    pub(super) fn expect(&mut self, path: PointerBuf, read: Value) {
        self.read.push((path, read));
    }

    /// The value at a place becomes this one.
    pub(super) fn replace(&mut self, path: PointerBuf, value: Value) {
        self.changes.push(FieldChange { path, value, new: false });
    }

    /// A field that was not there, or an entry behind the last one of a list.
    pub(super) fn add(&mut self, path: PointerBuf, value: Value) {
        self.changes.push(FieldChange { path, value, new: true });
    }

    /// Whether nothing has to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The edits as a JSON patch (RFC 6902): a `test` for all that was read, then the changes. Empty if there are none.
    #[must_use]
    pub fn patch(&self) -> Patch {
        if self.is_empty() {
            return Patch::default();
        }
        let tests = self.read.iter().map(|(path, value)| {
            PatchOperation::Test(TestOperation { path: path.clone(), value: value.clone() })
        });
        let changes = self.changes.iter().cloned().map(|FieldChange { path, value, new }| {
            if new {
                PatchOperation::Add(AddOperation { path, value })
            } else {
                PatchOperation::Replace(ReplaceOperation { path, value })
            }
        });
        Patch(tests.chain(changes).collect())
    }

    /// The object with the edits in it.
    ///
    /// # Errors
    /// It is not the object that was read.
    pub fn applied(&self, object: &Value) -> Result<Value, PatchError> {
        let mut edited = object.clone();
        json_patch::patch(&mut edited, &self.patch())?;
        Ok(edited)
    }
}
