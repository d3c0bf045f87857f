//! Texts of statements.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_core::hostile::sql;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| sql(input));
