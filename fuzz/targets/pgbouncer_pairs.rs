//! The value of a database in a `pgbouncer.ini`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_core::hostile::pairs;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| pairs(input));
