//! serin end to end: the shipped files, module and command on a real Envoy, under load.

mod api;
mod clients;
mod commands;
mod config;
mod contract;
mod crashes;
mod doctor;
mod file_lock;
mod hooks;
mod init;
mod interrupts;
mod multiple_services;
mod outages;
mod promotion;
mod record;
mod refusals;
mod rollback;
mod rolling;
mod routes;
mod strategies;
mod updates;
mod users;
mod world;
