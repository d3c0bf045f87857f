//! An HBA file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_core::hostile::hba;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| hba(input));
