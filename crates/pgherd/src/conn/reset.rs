//! Makes the session of a backend again what it was when it was opened.

use pgherd_core::reset::{self, Answer, Leftovers};
use tokio_postgres::SimpleQueryMessage;

use super::Backend;

/// Why a session could not be reset. It is not to be used again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResetError {
    /// A statement of the reset failed.
    #[error("a statement failed")]
    Failed(#[from] tokio_postgres::Error),
    /// The answer was not what was asked for.
    #[error("it did not tell what the session held")]
    NoAnswer,
    /// What the session was at its login cannot be had by a reset.
    #[error("prepared statements are gone, or a trigger acts at the login")]
    NotAsAtLogin,
}

impl Backend {
    /// Resets the session, and answers what it held beside settings. What the hook on open has
    /// set is gone too. One round trip, or two if something was left prepared.
    ///
    /// Not for a backend behind a pooler: the session that answers may be any.
    ///
    /// Dropping the future leaves a session that nobody knows.
    pub(crate) async fn reset(&self) -> Result<Leftovers, ResetError> {
        let kept = self.kept() as u64;
        let messages = self.client().simple_query(reset::SCRIPT).await?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or(ResetError::NoAnswer)?;
        let column = |at| if at < row.len() { row.get(at) } else { None };
        let answer = Answer::read(column).ok_or(ResetError::NoAnswer)?;
        if !answer.is_reset(kept) {
            return Err(ResetError::NotAsAtLogin);
        }
        if let Some(script) = answer.deallocate {
            self.client().batch_execute(&script).await?;
        }
        self.disregard_state();
        Ok(answer.leftovers)
    }
}
