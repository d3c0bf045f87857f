//! What follows a client: what it begins with, and changes because it has set or reset something.

use std::sync::Arc;

use pgherd_wire::backend;

use crate::databases::Database;
use crate::reactor::driver::Via;
use crate::reactor::{Driver, Worker};
use crate::relay::Parameters;

use super::origin::{Origin, named};

/// The parameter in which clients differ most and that changes nothing.
pub(super) const NAME: &str = "application_name";

impl<D: Driver> Worker<D> {
    /// What a client begins with: what it has asked for at its login, and where it has not, what its
    /// database says.
    pub(super) fn begins_with(
        &mut self,
        key: usize,
        asked: Parameters,
        database: &Database,
    ) -> Arc<Parameters> {
        let mut parameters = asked;
        if self.live.adds_host
            && let Some(origin) = self.origin(key)
        {
            let name = named(parameters.get(NAME), &origin);
            parameters.set(NAME, &name);
        }
        for (name, value) in database.settings().parameters() {
            if parameters.get(name).is_none() {
                parameters.set(name, value);
            }
        }
        self.intern(parameters)
    }

    /// Where a client is; `None` if it has gone.
    fn origin(&self, key: usize) -> Option<Origin> {
        let client = &self.clients[key];
        match client.via {
            Via::Tcp | Via::Successor => self.driver.ends(client.stream()).0.map(Origin::Tcp),
            Via::Unix => Some(Origin::Unix {
                process: self.driver.process(client.stream()),
                host: host_name(),
                port: self.proxy.admin.settings().listen.port,
            }),
        }
    }

    /// The backend reported a parameter that the client's own statement has set.
    pub(in crate::reactor) fn client_set(&mut self, key: usize, name: &str, value: &str) {
        // Reported, but not to be set.
        const FIXED: [&str; 6] = [
            "server_version",
            "server_encoding",
            "integer_datetimes",
            "is_superuser",
            "in_hot_standby",
            "session_authorization",
        ];
        if FIXED.contains(&name) {
            return;
        }
        let mut parameters = (*self.clients[key].parameters).clone();
        parameters.set(name, value);
        self.set_parameters(key, parameters);
    }

    /// The client's RESET or DISCARD ALL has set this parameter to what the node calls its
    /// default. The client's own is what it asked for at login, which the node knows nothing of,
    /// and the client is told so.
    pub(in crate::reactor) fn client_reset(&mut self, key: usize, name: &str, default: &str) {
        let client = &mut self.clients[key];
        let at_login = Arc::clone(&client.at_login);
        let value = at_login.get(name).unwrap_or(default);
        if value != default {
            let mut out = Vec::new();
            backend::put_parameter_status(&mut out, name, value);
            client.send([&out[..]].into_iter());
        }
        self.client_set(key, name, value);
    }

    pub(in crate::reactor) fn set_parameters(&mut self, key: usize, parameters: Parameters) {
        let parameters = self.intern(parameters);
        let client = &mut self.clients[key];
        client.relay.statements.set_flavour(parameters.flavour());
        client.parameters = parameters;
    }
}

/// What this host is called.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
