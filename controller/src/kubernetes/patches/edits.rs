//! Changes to an object, and the values that they depend on.

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, Patch, PatchError, PatchOperation, ReplaceOperation, TestOperation,
};
use serde_json::Value;

use super::field::Field;

/// Changes to an object that depend on values read from it.
///
/// The server rejects them as a whole (409 or 422) if the object has changed since, even if it
/// changed back: the writer has to read and decide again. So a late write of a controller that has
/// lost its lease can't undo another's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Edits {
    /// The values that have to be unchanged.
    read: Vec<(PointerBuf, Value)>,
    changes: Vec<FieldChange>,
}

#[derive(Debug, Clone, PartialEq)]
struct FieldChange {
    path: PointerBuf,
    value: Value,
    /// Whether the place is still empty.
    new: bool,
}

impl Edits {
    /// No edits to an object as it was read; depends on its `resourceVersion`, if it has one.
    pub(super) fn of(object: &Field<'_>) -> Self {
        let version = object.get("metadata").and_then(|metadata| metadata.get("resourceVersion"));
        let read = version.map(|field| (field.path, field.value.clone()));
        Self { read: read.into_iter().collect(), changes: Vec::new() }
    }

    /// The value read at a place has to be unchanged.
    pub(super) fn expect(&mut self, path: PointerBuf, read: Value) {
        self.read.push((path, read));
    }

    /// Replaces the value at a place.
    pub(super) fn replace(&mut self, path: PointerBuf, value: Value) {
        self.changes.push(FieldChange { path, value, new: false });
    }

    /// Adds a field, or an entry behind the last one of a list.
    pub(super) fn add(&mut self, path: PointerBuf, value: Value) {
        self.changes.push(FieldChange { path, value, new: true });
    }

    /// Whether nothing has to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The edits as a JSON patch (RFC 6902): a `test` for each value read, then the changes. Empty
    /// if there are none.
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

    /// The object with the edits applied.
    ///
    /// # Errors
    /// It is not the object that was read.
    pub fn applied(&self, object: &Value) -> Result<Value, PatchError> {
        let mut edited = object.clone();
        json_patch::patch(&mut edited, &self.patch())?;
        Ok(edited)
    }
}
