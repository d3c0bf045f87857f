//! What the library changes on its connections.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd::hostile::exchange;
use pgherd_lab::hostile::in_any_turns;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| {
    in_any_turns(input, |lines| exchange(lines, false));
    in_any_turns(input, |lines| exchange(lines, true));
});
