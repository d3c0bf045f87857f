//! A `userlist.txt`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_core::hostile::userlist;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| userlist(input));
