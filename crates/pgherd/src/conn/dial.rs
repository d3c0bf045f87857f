//! Opens backends of one node under one login.

use std::sync::Arc;
use std::time::Duration;

use pgherd_core::hosts::Host;
use pgherd_core::id::GroupId;
use pgherd_core::settings::{ChannelBinding, Secret, Settings, TlsMode, UserSettings};
use pgherd_core::topology::Node;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::config::{self, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};
use tracing::debug;

use super::backend::Backend;
use super::caches::Caches;
use super::line::Line;
use super::lines::Lines;
use super::lingering::Lingering;
use super::password::{Password, PasswordError, Place};
use super::reach::{Reach, Way};
use super::socket::{Socket, TappedSocket};
use super::suspicion::Classes;
use super::tap::Tap;
use super::tls::{Bind, NodeTls, Tls};
use super::transport::Transport;
use super::{ConnectError, ConnectStep};

/// Who we are on the nodes. `Debug` does not show the password.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Password,
    pub(crate) database: String,
    pub(crate) application_name: String,
}

impl Login {
    /// The login of the first user of the settings; `None` when there is no user.
    pub(crate) fn of(settings: &Settings, application_name: String) -> Option<Self> {
        Some(Self::under(settings.users.first()?, &settings.cluster.database, application_name))
    }

    /// The login of who asks the nodes of a group how they do; `None` when there is no user.
    pub(crate) fn to_probe(
        settings: &Settings,
        group: GroupId,
        application_name: String,
    ) -> Option<Self> {
        let (user, database) = settings.probe_login(group)?;
        Some(Self::under(user, database, application_name))
    }

    fn under(user: &UserSettings, database: &str, application_name: String) -> Self {
        Self {
            user: user.name.clone(),
            password: Password::of(user),
            database: database.to_owned(),
            application_name,
        }
    }
}

/// Opens backends of one node under one login.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    reach: Arc<Reach>,
    login: Arc<Login>,
    tls: NodeTls,
    limit: Duration,
    unconfirmed: Duration,
    prepared: usize,
    lines: Arc<Lines>,
    caches: Arc<Caches>,
    classes: Option<Classes>,
}

impl Dialer {
    /// `limit` is for opening one backend, login included, and as much again for the password.
    /// `reach` is the node's.
    pub(crate) fn new(
        node: &Node,
        reach: Arc<Reach>,
        login: Arc<Login>,
        tls: &Tls,
        limit: Duration,
    ) -> Self {
        Self {
            reach,
            login,
            tls: tls.with(node),
            limit,
            unconfirmed: Duration::ZERO,
            prepared: 0,
            lines: Arc::default(),
            caches: Arc::default(),
            classes: None,
        }
    }

    /// The same, with `pool.tcp_user_timeout`.
    pub(crate) fn unconfirmed_for(self, unconfirmed: Duration) -> Self {
        Self { unconfirmed, ..self }
    }

    /// The same, for backends that keep this many prepared statements each.
    pub(crate) fn keeping(self, prepared: usize) -> Self {
        Self { prepared, ..self }
    }

    /// The same, for backends that are lent: what statements may leave in them is watched.
    pub(crate) fn watching(self, classes: Classes) -> Self {
        Self { classes: Some(classes), ..self }
    }

    /// What the backends keep prepared that it has opened, and its clones.
    pub(crate) fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    /// Every connection that it has opened, and its clones.
    pub(crate) fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &Arc<str> {
        self.reach.node()
    }

    /// What is known of its addresses.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Opens a backend, over the first of the node's addresses that works; `on_end` is called once
    /// when its connection has ended, in a task of the runtime. Must be called inside a tokio
    /// runtime.
    ///
    /// Dropping the future closes what was opened.
    pub(crate) async fn open(
        &self,
        on_end: impl FnOnce() + Send + 'static,
    ) -> Result<Backend, ConnectError> {
        let mut left = self.limit;
        let (mut tried, mut last) = (Vec::new(), None);
        let began = Instant::now();
        self.look_up(left).await?;
        left = left.saturating_sub(began.elapsed());
        while let Some(attempt) = self.reach.attempt(&tried, left) {
            let way = attempt.at;
            // By itself, so that a slow command is not taken for a slow node.
            let password = self.password(&way.host).await;
            let password =
                password.map_err(|error| self.error_at(&way, ConnectStep::Password(error)))?;
            let began = Instant::now();
            match self.open_over(&way, &password, attempt.limit).await {
                Ok((backend, accepted)) => {
                    self.reach.opened(&way);
                    // Fails if the connection's task was aborted with the runtime.
                    let _ = accepted.send(on_end);
                    return Ok(backend);
                }
                Err(error) => {
                    let blames_way = error.blames_node();
                    if blames_way {
                        self.reach.failed(&way);
                    }
                    // Who is not there at all says less than who is and does not let us in.
                    let is_less = error.is_node_away() && last.is_some();
                    last = if is_less { last } else { Some(error) };
                    left = left.saturating_sub(began.elapsed());
                    if !blames_way || left.is_zero() {
                        break;
                    }
                }
            }
            tried.push(way);
        }
        Err(last
            .unwrap_or_else(|| self.error(ConnectStep::Dial(std::io::ErrorKind::NotFound.into()))))
    }

    /// Opens a backend over this way. Who keeps it says so, and what is to be called at its end.
    async fn open_over<E: FnOnce() + Send + 'static>(
        &self,
        way: &Way,
        password: &Secret,
        limit: Duration,
    ) -> Result<(Backend, oneshot::Sender<E>), ConnectError> {
        let opened = tokio::time::timeout(limit, async {
            let (client, line) = self.log_in(way, password).await?;
            let line = Arc::new(line);
            self.lines.note(&line);
            let (accepted, is_accepted) = oneshot::channel::<E>();
            tokio::spawn({
                let line = line.clone();
                async move {
                    line.run().await;
                    if let Ok(on_end) = is_accepted.await {
                        on_end();
                    }
                }
            });
            self.look_for_pooler(&client, &line).await?;
            // None behind a pooler, where the next transaction runs on another backend.
            let prepared = if line.heard().is_pooled() { 0 } else { self.prepared };
            let backend = Backend::new(client, line, self.caches.add(prepared), way.clone());
            Ok((backend, accepted))
        });
        opened
            .await
            .unwrap_or(Err(ConnectStep::TimedOut { limit }))
            .map_err(|step| self.error_at(way, step))
    }

    async fn look_up(&self, limit: Duration) -> Result<(), ConnectError> {
        let found = tokio::time::timeout(limit, self.reach.look_up()).await;
        let step = match found {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => ConnectStep::Dial(error),
            Err(_) => ConnectStep::TimedOut { limit },
        };
        Err(self.error(step))
    }

    /// Asks once which process it is that answers.
    async fn look_for_pooler(&self, client: &Client, line: &Line) -> Result<(), ConnectStep> {
        let asked = client.simple_query("SELECT pg_catalog.pg_backend_pid()").await;
        let messages = asked.map_err(ConnectStep::LogIn)?;
        let answering = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        line.heard().find_pooler(answering);
        if line.heard().is_pooled() {
            debug!(node = %self.node(), "a pooler is in between: statements are parsed for each use");
        }
        Ok(())
    }

    /// Asks the node to cancel what runs on this backend, over the way that leads to it, and waits
    /// until it has heard. Must be called inside a tokio runtime.
    ///
    /// Dropping the future does not keep the request from arriving.
    pub(crate) async fn cancel(&self, backend: &Backend) -> Result<(), ConnectError> {
        let (dialer, limit) = (self.clone(), self.limit);
        let (token, way) = (backend.cancel_token(), backend.way().clone());
        let work = async move {
            let transport = Lingering(dialer.connect(&way).await?);
            let bind = Bind { end_point: None };
            token.cancel_query_raw(transport, bind).await.map_err(ConnectStep::LogIn)
        };
        // In a task of its own: nobody is to close the connection early.
        let done = match tokio::spawn(tokio::time::timeout(limit, work)).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(ConnectStep::TimedOut { limit }),
            // The runtime ends.
            Err(_) => Err(ConnectStep::Dial(std::io::ErrorKind::ConnectionAborted.into())),
        };
        done.map_err(|step| self.error_at(backend.way(), step))
    }

    /// Connects, encrypted as the settings want it.
    async fn connect(&self, way: &Way) -> Result<Transport, ConnectStep> {
        let socket = self.dial(way).await.map_err(ConnectStep::Dial)?;
        let mode = self.tls.mode();
        if mode == TlsMode::Disable || socket.is_unix() {
            return Ok(Transport::Plain(socket));
        }
        match self.tls.encrypt(socket, &way.host.name).await {
            Err(error) if mode == TlsMode::Prefer && !error.is_ours() => {
                debug!(node = %self.node(), %error, "no TLS: trying in plain");
                self.connect_plain(way).await
            }
            encrypted => encrypted.map_err(ConnectStep::Encrypt),
        }
    }

    async fn dial(&self, way: &Way) -> std::io::Result<Socket> {
        Socket::connect(&way.address, self.unconfirmed).await
    }

    async fn connect_plain(&self, way: &Way) -> Result<Transport, ConnectStep> {
        self.dial(way).await.map(Transport::Plain).map_err(ConnectStep::Dial)
    }

    async fn password(&self, host: &Host) -> Result<Secret, PasswordError> {
        let Login { user, database, .. } = &*self.login;
        let place = Place { host: &host.name, port: host.port, database, user };
        let limit = self.limit;
        let password = tokio::time::timeout(limit, self.login.password.get(place)).await;
        password.unwrap_or(Err(PasswordError::TimedOut { limit }))
    }

    async fn log_in(&self, way: &Way, password: &Secret) -> Result<(Client, Line), ConnectStep> {
        let transport = self.connect(way).await?;
        let was_encrypted = transport.is_encrypted();
        let logged_in = match self.log_in_over(transport, password).await {
            // The node has let in plain connections only: as libpq, and before any password.
            Err(error)
                if was_encrypted
                    && self.tls.mode() == TlsMode::Prefer
                    && error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) =>
            {
                debug!(node = %self.node(), %error, "refused over TLS: trying in plain");
                self.log_in_over(self.connect_plain(way).await?, password).await
            }
            logged_in => logged_in,
        };
        logged_in.map_err(|error| {
            if password.is_empty() && asks_for_password(&error) {
                let user = self.login.user.clone();
                return ConnectStep::Password(PasswordError::Missing { user });
            }
            if error.code().is_some_and(|code| code.code().starts_with("28")) {
                self.login.password.refused();
            }
            ConnectStep::LogIn(error)
        })
    }

    async fn log_in_over(
        &self,
        transport: Transport,
        password: &Secret,
    ) -> Result<(Client, Line), tokio_postgres::Error> {
        let tap = Tap::new(self.classes.clone());
        let heard = tap.heard().clone();
        let Login { user, database, application_name, .. } = &*self.login;
        let mut config = tokio_postgres::Config::new();
        config.user(user).dbname(database).application_name(application_name);
        config.channel_binding(match self.tls.channel_binding() {
            ChannelBinding::Disable => config::ChannelBinding::Disable,
            ChannelBinding::Prefer => config::ChannelBinding::Prefer,
            ChannelBinding::Require => config::ChannelBinding::Require,
        });
        // TLS is there already: "direct" keeps the driver from asking for it.
        let ssl_mode = if transport.is_encrypted() { SslMode::Require } else { SslMode::Disable };
        config.ssl_mode(ssl_mode).ssl_negotiation(SslNegotiation::Direct);
        if !password.is_empty() {
            config.password(password.expose());
        }
        let bind = Bind { end_point: transport.end_point() };
        let tapped = TappedSocket::new(transport, tap);
        let (client, connection) = config.connect_raw(tapped, bind).await?;
        Ok((client, Line::new(self.node().clone(), connection, heard)))
    }

    /// What opening a backend of this node failed with, before there was a way to try.
    fn error(&self, step: ConnectStep) -> ConnectError {
        ConnectError { node: self.node().clone(), address: self.reach.hosts(), step }
    }

    /// The same over this way.
    pub(crate) fn error_at(&self, way: &Way, step: ConnectStep) -> ConnectError {
        ConnectError { node: self.node().clone(), address: way.host.to_string(), step }
    }
}

/// The driver has no kind for it that can be asked for.
fn asks_for_password(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.to_string() == "password missing")
}
