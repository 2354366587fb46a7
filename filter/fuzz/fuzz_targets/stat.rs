//! A name that parses as a statistic is the name of that statistic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serin_filter::stat::Stat;

fuzz_target!(|name: &str| {
    if let Some((service, version, stat)) = Stat::parse(name)
        && let (Ok(service), Ok(version)) = (service.parse(), version.parse())
    {
        assert_eq!(stat.name(&service, &version), name);
    }
});
