//! Messages of servers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_wire::hostile::from_server;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| from_server(input));
