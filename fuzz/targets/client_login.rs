//! The proxy's logins of clients.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_lab::hostile::in_any_pieces;
use pgherd_server::auth::Method;
use pgherd_server::hostile::client_login_by;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| {
    for method in [Method::Scram, Method::Md5, Method::Plain] {
        in_any_pieces(input, |pieces| client_login_by(method, pieces));
    }
});
