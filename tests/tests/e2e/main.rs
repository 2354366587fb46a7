//! serin end to end: the shipped files, module and command on a real Envoy, under load.

mod api;
mod clients;
mod company;
mod contract;
mod crashes;
mod doctor;
mod hooks;
mod init;
mod interrupts;
mod orders;
mod outages;
mod promotion;
mod record;
mod refusals;
mod rollback;
mod rolling;
mod routes;
mod several;
mod strategies;
mod updates;
mod users;
mod world;
