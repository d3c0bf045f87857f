//! SCRAM, both sides.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_lab::hostile::said_by_each;
use pgherd_wire::hostile::scram;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| {
    let [client, server] = said_by_each(input);
    scram(&client, &server);
});
