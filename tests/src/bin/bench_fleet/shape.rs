//! The shape of the fleet: number, addresses and groups of the proxies.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use clap::Args;
use serin_tests::ports;

/// The proxies, divided evenly into groups of one rollout each.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Shape {
    #[arg(long)]
    pub(crate) proxies: u32,
    #[arg(long)]
    pub(crate) groups: u32,
    /// Port of the admin interfaces, each at its own address
    #[arg(long)]
    port: u16,
    /// Port of the simulator's control interface
    #[arg(long)]
    control: u16,
    /// Port of serin's xDS server
    #[arg(long)]
    xds: u16,
}

impl Shape {
    pub(crate) fn new(proxies: u32, groups: u32) -> Self {
        let [port, control, xds] = [(); 3].map(|()| ports::free());
        Self { proxies, groups, port, control, xds }
    }

    /// The shape as arguments of the simulator.
    pub(crate) fn hand_on(&self, command: &mut Command) {
        for (name, value) in [
            ("--proxies", self.proxies),
            ("--groups", self.groups),
            ("--port", self.port.into()),
            ("--control", self.control.into()),
            ("--xds", self.xds.into()),
        ] {
            command.args([name, &value.to_string()]);
        }
    }

    pub(crate) fn control(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.control).into()
    }

    pub(crate) fn xds(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.xds).into()
    }

    /// The admin interface of a proxy: all of 127.0.0.0/8 is loopback.
    pub(crate) fn admin(&self, proxy: u32) -> SocketAddr {
        let [_, _, high, low] = (proxy + 1).to_be_bytes();
        (Ipv4Addr::new(127, 1, high, low), self.port).into()
    }

    pub(crate) fn group(&self, proxy: u32) -> u32 {
        proxy % self.groups
    }

    /// The proxies of a group.
    pub(crate) fn members(&self, group: u32) -> impl Iterator<Item = u32> {
        let of_group = move |proxy: &u32| self.group(*proxy) == group;
        (0..self.proxies).filter(of_group)
    }
}

pub(crate) fn group_name(group: u32) -> String {
    format!("group-{group}")
}

pub(crate) fn service_name(group: u32) -> String {
    format!("service-{group}")
}
