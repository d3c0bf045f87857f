//! What becomes of a backend when its lease ends.
//!
//! | It stands                         | It is                                            |
//! |-----------------------------------|--------------------------------------------------|
//! | clean, and not too old            | lent to the next                                 |
//! | in a transaction, or holds state  | closed; the server rolls back                    |
//! | owing an answer                   | waited for a moment, then cancelled and closed   |
//! | dead                              | forgotten, and the node's health is told         |

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::NodePool;
use crate::conn::{Backend, Standing};

/// How long an answer that is owed may take before the statement is cancelled. What is owed at
/// a release is mostly the tail of an answer, which is on its way.
const ANSWER_DELAY: Duration = Duration::from_millis(100);

/// How long a cancelled statement may take to end before the socket is closed.
const CANCEL_DELAY: Duration = Duration::from_secs(5);

impl NodePool {
    /// Takes back a borrowed backend that was just seen to stand like this.
    pub(super) fn release(self: &Arc<Self>, backend: Backend, standing: Standing) {
        match standing {
            Standing::Owing => {
                let pool = self.clone();
                self.runtime().spawn(async move { pool.release_when_settled(backend).await });
            }
            standing => self.release_settled(backend, standing),
        }
    }

    fn release_settled(self: &Arc<Self>, backend: Backend, standing: Standing) {
        match standing {
            Standing::Clean if self.is_fit(&backend) => self.put_back(backend),
            Standing::Clean => self.discard(backend),
            Standing::InTransaction => {
                debug!(node = %self.node(), "released inside a transaction: closed");
                self.discard(backend);
            }
            Standing::LeftState(why) => {
                debug!(node = %self.node(), ?why, "released with state in its session: closed");
                self.discard(backend);
            }
            Standing::Dead => {
                self.report_failure("a connection was lost");
                self.discard(backend);
            }
            Standing::Owing => self.cut(backend),
        }
    }

    async fn release_when_settled(self: Arc<Self>, backend: Backend) {
        if let Ok(standing) = tokio::time::timeout(ANSWER_DELAY, backend.settle()).await {
            return self.release_settled(backend, standing);
        }
        debug!(node = %self.node(), "released with a statement under way: cancelled");
        let cancelled = self.dialer().cancel(backend.cancel_token()).await;
        if cancelled.is_ok() {
            let _ = tokio::time::timeout(CANCEL_DELAY, backend.settle()).await;
        }
        // Not lent again: the cancel may reach the server late, and would hit the next one.
        self.cut(backend);
    }
}
