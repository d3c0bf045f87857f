//! The queue of replies that are owed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_wire::hostile::replies;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| replies(input));
