//! The status of an object as a store. The next operator resumes from the stored status.

use std::time::Duration;

use kube::api::{DynamicObject, PostParams};
use kube::{Api, Error, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use super::conflict::{ConflictResolution, resolve};
use crate::kubernetes::fence::{Fence, LeaseLost};
use crate::kubernetes::status::{ObjectStatus, WriterStamp};

/// The time limit for a write.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of attempts if other fields of the object keep changing.
const MAX_ATTEMPTS: usize = 20;

/// A status write failed. The stored status is the previous one, or another operator's.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub(crate) enum StatusError {
    #[error("another operator has written the status")]
    Superseded,
    #[error("the object was deleted")]
    Gone,
    #[error("the status can't be written: {0}")]
    Failed(String),
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
}

/// The status of an object. Each write carries the object's resource version.
#[derive(Debug)]
pub(crate) struct StatusStore {
    api: Api<DynamicObject>,
    fence: Fence,
    identity: String,
    sequence: u64,
    /// The object as last read or written.
    object: DynamicObject,
    status: ObjectStatus,
}

impl StatusStore {
    /// Opens the status of an object that was just read.
    ///
    /// # Errors
    /// The status has an unknown format.
    pub(crate) fn open(
        api: Api<DynamicObject>,
        object: DynamicObject,
        identity: &str,
        fence: Fence,
    ) -> Result<Self, serde_json::Error> {
        let status = read(&object)?;
        // Earlier writes of this identity continue its sequence.
        let own = status.writer.as_ref().filter(|stamp| stamp.identity == identity);
        let sequence = own.map_or(0, |stamp| stamp.sequence);
        Ok(Self { api, fence, identity: identity.to_owned(), sequence, object, status })
    }

    /// The object as last read or written.
    #[must_use]
    pub(crate) fn object(&self) -> &DynamicObject {
        &self.object
    }

    /// The stored status.
    #[must_use]
    pub(crate) fn status(&self) -> &ObjectStatus {
        &self.status
    }

    /// Writes the status if it differs from the stored one.
    ///
    /// # Errors
    /// The write failed.
    pub(crate) async fn write(&mut self, status: ObjectStatus) -> Result<(), StatusError> {
        if status == self.status {
            return Ok(());
        }
        self.sequence += 1;
        let stamp = WriterStamp { identity: self.identity.clone(), sequence: self.sequence };
        let status = ObjectStatus { writer: Some(stamp.clone()), ..status };
        let name = self.object.name_any();
        for _ in 0..MAX_ATTEMPTS {
            self.fence.check()?;
            let mut object = self.object.clone();
            if let Value::Object(fields) = &mut object.data {
                fields.insert("status".to_owned(), json!(status));
            }
            let params = PostParams::default();
            let written = timeout(TIMEOUT, self.api.replace_status(&name, &params, &object)).await;
            match written {
                Ok(Ok(object)) => {
                    (self.object, self.status) = (object, status);
                    return Ok(());
                }
                Ok(Err(Error::Api(response))) if response.code == 409 => {
                    if self.resolve_conflict(&name, &stamp).await?
                        == ConflictResolution::AlreadyWritten
                    {
                        self.status = status;
                        return Ok(());
                    }
                }
                Ok(Err(Error::Api(response))) if response.code == 404 => {
                    return Err(StatusError::Gone);
                }
                Ok(Err(error)) => return Err(StatusError::Failed(error.to_string())),
                Err(_) => return Err(StatusError::Failed(no_answer())),
            }
        }
        Err(StatusError::Failed("another client keeps changing the object".to_owned()))
    }

    /// Reads the object again, and resolves the conflict.
    async fn resolve_conflict(
        &mut self,
        name: &str,
        rejected: &WriterStamp,
    ) -> Result<ConflictResolution, StatusError> {
        let failed = |reason: String| StatusError::Failed(reason);
        let object = match timeout(TIMEOUT, self.api.get(name)).await {
            Ok(Ok(object)) => object,
            Ok(Err(Error::Api(response))) if response.code == 404 => return Err(StatusError::Gone),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(no_answer())),
        };
        let stored = read(&object).map_err(|error| failed(error.to_string()))?.writer;
        match resolve(stored.as_ref(), self.status.writer.as_ref(), rejected) {
            ConflictResolution::Superseded => Err(StatusError::Superseded),
            resolution => {
                self.object = object;
                Ok(resolution)
            }
        }
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

/// The status of an object, or an empty one.
fn read(object: &DynamicObject) -> Result<ObjectStatus, serde_json::Error> {
    match object.data.get("status") {
        None | Some(Value::Null) => Ok(ObjectStatus::default()),
        Some(status) => serde_json::from_value(status.clone()),
    }
}
