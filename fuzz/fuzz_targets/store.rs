#![no_main]

libfuzzer_sys::fuzz_target!(|actions: Vec<checks::store::Action>| checks::store::check(actions));
