//! What the log says of clients: who came, what they were told, when they left and why.
//!
//! Each kind of line is a setting of `[log]`, and all together have a limit for each second: clients that
//! fail by thousands neither fill a disk nor hold up those that do not.

use tracing::Level;

use super::parameters::NAME;
use crate::reactor::{Driver, Worker};
use crate::session::LoginFailure;

impl<D: Driver> Worker<D> {
    /// Whether one more line that is about a single client may be written.
    pub(in crate::reactor) fn has_room_for_a_line(&mut self) -> bool {
        let cores = u32::try_from(self.proxy.cores).unwrap_or(u32::MAX);
        let most = (self.live.log.lines_per_second / cores).max(1);
        self.lines.admits(most, self.now)
    }

    /// The same for a kind of lines that may not be wanted.
    fn may_tell(&mut self, wanted: bool) -> bool {
        wanted && tracing::enabled!(Level::INFO) && self.has_room_for_a_line()
    }

    /// Tells how many lines were left out, once their second is over.
    pub(in crate::reactor) fn tell_what_was_left_out(&mut self) {
        if let Some(lines) = self.lines.left_out(self.now) {
            tracing::info!(lines, "lines about clients left out (limit log.lines_per_second)");
        }
    }

    /// A client has logged in.
    pub(super) fn note_login(&mut self, key: usize) {
        if !self.may_tell(self.live.log.connections) {
            return;
        }
        let Some(who) = self.who(key) else { return };
        let client = &self.clients[key];
        tracing::info!(
            client = who.id,
            address = who.address,
            database = who.database,
            user = who.user,
            tls = client.encryption(),
            application_name = client.at_login.get(NAME).unwrap_or_default(),
            "client logged in"
        );
    }

    /// A client is told an error of pgherd's own.
    pub(super) fn note_error(&mut self, key: usize, code: &str, reason: &str) {
        if !self.clients.contains(key) {
            return;
        }
        self.proxy.counts.of_clients(self.core).told(code);
        if !self.may_tell(self.live.log.client_errors) {
            return;
        }
        match self.who(key) {
            Some(who) => tracing::info!(
                client = who.id,
                address = who.address,
                database = who.database,
                user = who.user,
                code,
                reason,
                "client told an error"
            ),
            None => {
                let (client, address) = (self.number_of(key), self.address(key));
                tracing::info!(client, address, code, reason, "client told an error");
            }
        }
    }

    /// A login was refused.
    pub(super) fn note_refusal(&mut self, key: usize, code: &str, why: LoginFailure, reason: &str) {
        self.proxy.counts.of_clients(self.core).told(code);
        self.login_failed(why);
        if self.may_tell(self.live.log.client_errors) {
            let (client, address) = (self.number_of(key), self.address(key));
            tracing::info!(client, address, code, reason, "login refused");
        }
    }

    /// A login has come to nothing.
    pub(super) fn login_failed(&self, why: LoginFailure) {
        self.proxy.counts.of_clients(self.core).failed(why);
    }

    /// A client has failed to begin TLS, or something else came in its place.
    pub(super) fn note_no_tls(&mut self, key: usize, error: &std::io::Error) {
        self.login_failed(LoginFailure::Tls);
        if self.may_tell(self.live.log.client_errors) {
            let (client, address) = (self.number_of(key), self.address(key));
            tracing::info!(client, address, %error, "no TLS with a client");
        }
    }

    /// A client leaves; one that was not logged in goes unnoticed.
    pub(super) fn note_end(&mut self, key: usize, reason: &str) {
        if self.clients[key].user().is_none() || !self.may_tell(self.live.log.disconnections) {
            return;
        }
        let Some(who) = self.who(key) else { return };
        let age = self.now.saturating_duration_since(self.clients[key].connected_at);
        tracing::info!(
            client = who.id,
            address = who.address,
            database = who.database,
            user = who.user,
            reason,
            age_seconds = age.as_millis() as f64 / 1e3,
            "client left"
        );
    }

    /// What tells a client that is logged in from others.
    fn who(&self, key: usize) -> Option<Who> {
        let client = self.clients.get(key)?;
        let user = self.proxy.users.get(client.user()?).name.clone();
        let database = match client.seat() {
            Some(account) => account.database.name.to_string(),
            None => crate::admin::DATABASES[0].to_owned(),
        };
        Some(Who { id: self.number_of(key), address: self.address(key), database, user })
    }

    /// Its number in SHOW CLIENTS.
    fn number_of(&self, key: usize) -> u64 {
        self.public_id(self.clients[key].serial)
    }

    fn address(&self, key: usize) -> String {
        let (peer, _) = self.driver.ends(self.clients[key].stream());
        peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
    }
}

/// A client that is logged in, for the log.
struct Who {
    id: u64,
    address: String,
    database: String,
    user: String,
}
