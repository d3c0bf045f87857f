//! Asks a cluster's nodes a question now and then, for programs that serve others.
//!
//! In: a login, a database, and questions with one parameter. Out: rows of texts.

use std::sync::Arc;
use std::time::Duration;

use pgherd_core::id::NodeId;
use pgherd_core::settings::{Settings, UserSettings};
use pgherd_core::topology::Topology;

use crate::conn::{Backend, ConnectError, Dialer, Login, Password, Reach, Tls};

/// One connection to a node, opened when it is needed and kept; questions that come together share it.
///
/// ```no_run
/// use pgherd::{Inquirer, Settings};
///
/// # async fn f(settings: &Settings) -> Result<(), pgherd::InquiryError> {
/// let topology = settings.topology().expect("settings that were read make a cluster");
/// let inquirer = Inquirer::new(settings, &topology, &settings.users[0], "app");
/// let primary = topology.coordinator().primary;
/// let rows = inquirer.ask(primary, "SELECT rolname FROM pg_roles WHERE rolname = $1", "ann").await?;
/// println!("{}", if rows.is_empty() { "nobody" } else { "somebody" });
/// # Ok(())
/// # }
/// ```
pub struct Inquirer {
    dialers: Vec<Dialer>,
    limit: Duration,
    // Held while one is opened, so that all wait for the same.
    kept: tokio::sync::Mutex<Option<(NodeId, Arc<Backend>)>>,
}

/// Why there is no answer.
///
/// ```
/// let error = pgherd::InquiryError::TimedOut(std::time::Duration::from_secs(5));
/// assert_eq!(error.to_string(), "no answer within 5s");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InquiryError {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The node refused the question, or was lost.
    #[error("the query failed: {}", words(.0))]
    Query(#[source] tokio_postgres::Error),
    /// A column is no text.
    #[error("column {0} of the answer is no text: cast it")]
    NoText(usize),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

fn words(error: &tokio_postgres::Error) -> String {
    let report = error.as_db_error();
    report.map_or_else(|| error.to_string(), |report| report.message().to_owned())
}

impl std::fmt::Debug for Inquirer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inquirer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Inquirer {
    /// Opens nothing yet.
    pub fn new(
        settings: &Settings,
        topology: &Topology,
        user: &UserSettings,
        database: &str,
    ) -> Self {
        let login = Arc::new(Login {
            user: user.name.clone(),
            password: Password::of(user),
            database: database.to_owned(),
            application_name: format!("pgherd/{}", crate::cluster::instance_name()),
        });
        let (tls, limit) = (Tls::of(settings), settings.pool.connect_timeout);
        let dialer = |node| {
            let reach = Arc::new(Reach::new(node));
            Dialer::new(node, reach, Arc::clone(&login), &tls, limit)
        };
        let dialers = topology.nodes().iter().map(dialer).collect();
        Self { dialers, limit, kept: tokio::sync::Mutex::default() }
    }

    /// Asks a node; each row of the answer as texts. Has `pool.connect_timeout`, opening the connection
    /// included. A connection that was lost meanwhile is opened again, once.
    ///
    /// Dropping the future leaves the question to the node, whose answer nobody reads.
    ///
    /// # Errors
    /// [`InquiryError`].
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub async fn ask(
        &self,
        node: NodeId,
        sql: &str,
        parameter: &str,
    ) -> Result<Vec<Vec<Option<String>>>, InquiryError> {
        let asked = tokio::time::timeout(self.limit, self.ask_twice(node, sql, parameter)).await;
        match asked {
            Ok(answer) => answer,
            Err(_) => {
                // It may be gone without a word.
                *self.kept.lock().await = None;
                Err(InquiryError::TimedOut(self.limit))
            }
        }
    }

    async fn ask_twice(
        &self,
        node: NodeId,
        sql: &str,
        parameter: &str,
    ) -> Result<Vec<Vec<Option<String>>>, InquiryError> {
        let (backend, is_new) = self.backend(node).await?;
        let mut rows = backend.client().query(sql, &[&parameter]).await;
        if !is_new && rows.is_err() && backend.is_dead() {
            let (backend, _) = self.backend(node).await?;
            rows = backend.client().query(sql, &[&parameter]).await;
        }
        let text = |row: &tokio_postgres::Row, at: usize| {
            row.try_get::<_, Option<String>>(at).map_err(|_| InquiryError::NoText(at + 1))
        };
        let texts = |row: &tokio_postgres::Row| (0..row.len()).map(|at| text(row, at)).collect();
        rows.map_err(InquiryError::Query)?.iter().map(texts).collect()
    }

    /// The connection to this node, and whether it was opened for this.
    async fn backend(&self, node: NodeId) -> Result<(Arc<Backend>, bool), InquiryError> {
        let mut kept = self.kept.lock().await;
        if let Some((at, backend)) = &*kept
            && *at == node
            && !backend.is_dead()
        {
            return Ok((Arc::clone(backend), false));
        }
        let backend = Arc::new(self.dialers[node.index()].open(|| ()).await?);
        *kept = Some((node, Arc::clone(&backend)));
        Ok((backend, true))
    }
}
