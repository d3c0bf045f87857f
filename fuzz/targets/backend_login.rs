//! The proxy's logins at nodes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_lab::hostile::in_any_pieces;
use pgherd_server::hostile::{asks_for_many_iterations, backend_login};

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| {
    if !asks_for_many_iterations(input) {
        in_any_pieces(input, backend_login);
    }
});
