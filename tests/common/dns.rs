//! A name server on loopback that says what a test wants it to say.
#![allow(dead_code, unreachable_pub)] // each test uses its own part of this
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // it fails by panicking

use std::net::{SocketAddr, UdpSocket};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

/// What is said to a question.
pub enum Said {
    Records(Vec<RData>),
    Nowhere,
    /// SERVFAIL.
    Broken,
    Silence,
}

/// Answers by what `zone` says of a name, in lower case and without the last dot, for as long as the program runs.
pub fn name_server(zone: impl Fn(&str, RecordType) -> Said + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let Ok(asked) = Message::from_vec(&buffer[..length]) else { continue };
            let question = asked.queries[0].clone();
            let name = question.name().clone();
            let plain = name.to_string().trim_end_matches('.').to_lowercase();
            let said = zone(&plain, question.query_type());
            let mut answer = Message::response(asked.id, asked.op_code);
            answer.add_query(question);
            match said {
                Said::Records(records) => {
                    let records = records.into_iter().map(|record| Record::from_rdata(name.clone(), 300, record));
                    for record in records {
                        answer.add_answer(record);
                    }
                }
                Said::Nowhere => answer.metadata.response_code = ResponseCode::NXDomain,
                Said::Broken => answer.metadata.response_code = ResponseCode::ServFail,
                Said::Silence => continue,
            }
            let _ = socket.send_to(&answer.to_vec().unwrap(), client);
        }
    });
    address
}
