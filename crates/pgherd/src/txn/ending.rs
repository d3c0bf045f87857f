//! COMMIT on one backend, and what its answer proves.
//!
//! | Answer to COMMIT                           | Then the transaction is        |
//! |--------------------------------------------|--------------------------------|
//! | the tag `COMMIT`                           | committed                      |
//! | another tag (`ROLLBACK`)                   | rolled back: it had failed     |
//! | an error that leaves the session           | rolled back                    |
//! | 57P01 and others that prove no effect      | rolled back, unless a pooler   |
//! |                                            | says so of a server it lost    |
//! | another error that ends the session        | unknown                        |
//! | none, and COMMIT did not leave in full     | rolled back                    |
//! | none, and it did                           | unknown                        |

use pgherd_core::retry::proves_no_effect;
use tokio_postgres::error::Severity;

use super::CommitError;
use crate::Lease;

/// Runs COMMIT, or a script that ends with it.
///
/// Dropping the future leaves the outcome open.
pub(crate) async fn commit_on(lease: &Lease, script: &str) -> Result<(), CommitError> {
    let before = lease.statements();
    let node = lease.node().to_owned();
    let error = match lease.batch_execute(script).await {
        Ok(()) => match lease.backend().last_tag() {
            tag if tag == "COMMIT" => return Ok(()),
            tag => return Err(CommitError::Ended { node, tag }),
        },
        Err(error) => error,
    };
    let is_pooled = lease.backend().process_id().is_none();
    Err(match error.as_db_error() {
        Some(report) => {
            let ends_session =
                matches!(report.parsed_severity(), Some(Severity::Fatal | Severity::Panic) | None);
            let is_proof = proves_no_effect(report.code().code()) && !is_pooled;
            match ends_session && !is_proof {
                true => CommitError::Unknown { node, error },
                false => CommitError::Refused { node, error },
            }
        }
        None if lease.statements() > before => CommitError::Unknown { node, error },
        None => CommitError::Lost { node, error },
    })
}
