//! Messages of clients.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_wire::hostile::from_client;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| from_client(input));
