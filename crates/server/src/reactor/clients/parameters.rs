//! What follows a client changes, because it has set or reset something.

use std::sync::Arc;

use pgherd_wire::backend;

use crate::reactor::{Driver, Worker};
use crate::relay::Parameters;

impl<D: Driver> Worker<D> {
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
