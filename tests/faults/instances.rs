//! The program is killed, or stopped, and others take over.

use std::net::TcpListener;

use crate::support::client::{in_short, position_of, since};
use crate::support::hearing::{Habits, addresses};
use crate::support::postgres::insert_pricings;
use crate::support::{Client, Database, Hearing, Load, Program};

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_program_come_back_to_its_successor() {
    let database = Database::create().await;
    let port = free_port();
    let settings = [("DATABASE_URL", &*database.url), ("PORT", &*port)];
    let mut program = Program::start(&settings);
    let instances = addresses(&[program.address()]);
    let mut clients = Vec::new();
    for name in ["first", "second", "third"] {
        clients.push(Hearing::returning(name, &instances, Habits::default()).await);
    }
    let load = Load::start(&database.url, 3).await;
    for _ in 0..5 {
        for client in &clients {
            client.hears_more(30).await;
        }
        program.kill();
        program = Program::start(&settings);
        program.address();
    }
    for client in &clients {
        client.hears_more(30).await;
    }
    load.end(&clients.iter().collect::<Vec<_>>()).await;
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_instance_go_over_to_another() {
    let database = Database::create().await;
    let mut programs = Vec::new();
    for _ in 0..3 {
        let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
        let address = program.address();
        programs.push((program, address));
    }
    let (mut doomed, doomed_at) = programs.remove(2);
    let instances = addresses(&[doomed_at]);
    let mut clients = Vec::new();
    for (nth, (_, address)) in programs.iter().enumerate() {
        clients.push(Hearing::live(&format!("live {nth}"), *address).await);
    }
    for nth in 0..3 {
        let name = format!("returning {nth}");
        clients.push(Hearing::returning(&name, &instances, Habits::default()).await);
    }
    let load = Load::start(&database.url, 3).await;
    for client in &clients {
        client.hears_more(50).await;
    }
    *instances.lock().expect("no panic") = programs.iter().map(|(_, address)| *address).collect();
    doomed.kill();
    for client in &clients {
        client.hears_more(50).await;
    }
    load.end(&clients.iter().collect::<Vec<_>>()).await;
    for (program, _) in programs {
        program.signal("-TERM");
        assert_eq!(program.wait(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_burst_cuts_it_where_clients_come_back_to() {
    const ROWS: usize = 100_000;
    let database = Database::create().await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let address = program.address();
    database.add_service("Zoom").await;
    let mut positioned = Client::join(address, &since("")).await;
    let mut plain = Client::join(address, "40/pricings,").await;
    let writing = database
        .sql_meanwhile(&insert_pricings("Zoom", 0..ROWS))
        .await;
    let mut position = String::new();
    for version in 0..1000 {
        let frame = positioned.next_frame().await;
        assert_eq!(in_short(&frame), format!("CREATED Zoom {version}"));
        position = position_of(&frame);
        assert_eq!(plain.next_event().await, format!("CREATED Zoom {version}"));
    }
    writing.await.expect("all is written");
    program.signal("-TERM");
    let mut heard = 1000;
    while let Some(frame) = positioned.next_frame_or_end().await {
        if frame.starts_with("42") {
            assert_eq!(in_short(&frame), format!("CREATED Zoom {heard}"));
            position = position_of(&frame);
            heard += 1;
        }
    }
    let mut heard_plain = 1000;
    while let Some(frame) = plain.next_frame_or_end().await {
        if frame.starts_with("42") {
            assert_eq!(in_short(&frame), format!("CREATED Zoom {heard_plain}"));
            heard_plain += 1;
        }
    }
    assert_eq!(program.wait(), Some(0));
    assert!(heard < ROWS && heard_plain < ROWS, "it was over already");

    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let mut back = Client::join(program.address(), &since(&position)).await;
    for version in heard..ROWS {
        let frame = back.next_frame().await;
        let version = format!("\"pricingVersion\":\"{version}\"");
        assert!(frame.contains(&version), "{frame} instead of {version}");
    }
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string()
}
