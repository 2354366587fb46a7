//! Whatever a statistic is called: what is taken for one of the filter's has the name that the filter gives it.
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
