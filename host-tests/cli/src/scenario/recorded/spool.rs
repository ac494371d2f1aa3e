//! Puts requests aside, and gives them again.

use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;
use tidegate_model::traffic::Request;

/// Requests, one behind the other: each as its length and its parts, a part as its length and its bytes, numbers as
/// eight bytes. Nobody else reads it.
#[derive(Debug)]
pub(super) struct Spool {
    file: SpooledTempFile,
    end: u64,
    buffer: Vec<u8>,
}

impl Spool {
    /// Holds so many bytes in memory, and more in a file.
    pub(super) fn new(in_memory_bytes: usize) -> Self {
        Self {
            file: SpooledTempFile::new(in_memory_bytes),
            end: 0,
            buffer: Vec::new(),
        }
    }

    /// Puts a request aside and returns where.
    pub(super) fn put(&mut self, request: &Request) -> io::Result<u64> {
        self.buffer.clear();
        put_fields(&mut self.buffer, &request.headers);
        put_parts(&mut self.buffer, &request.body);
        put_fields(&mut self.buffer, &request.trailers);
        put_number(&mut self.buffer, u64::from(request.frames.is_some()));
        put_parts(&mut self.buffer, request.frames.as_deref().unwrap_or(&[]));
        let place = self.end;
        let length = self.buffer.len() as u64;
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&self.buffer)?;
        self.end += 8 + length;
        Ok(place)
    }

    /// Gives the request at a place.
    pub(super) fn get(&mut self, place: u64) -> io::Result<Request> {
        self.file.seek(SeekFrom::Start(place))?;
        let mut length = [0; 8];
        self.file.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_error| broken())?;
        self.buffer.resize(length, 0);
        self.file.read_exact(&mut self.buffer)?;
        let mut rest = self.buffer.as_slice();
        let headers = fields(&mut rest)?;
        let body = parts(&mut rest)?;
        let trailers = fields(&mut rest)?;
        let has_frames = number(&mut rest)? == 1;
        let frames = parts(&mut rest)?;
        Ok(Request {
            headers,
            body,
            trailers,
            frames: has_frames.then_some(frames),
        })
    }
}

fn put_number(buffer: &mut Vec<u8>, number: u64) {
    buffer.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    put_number(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

fn put_fields(buffer: &mut Vec<u8>, fields: &[(Vec<u8>, Vec<u8>)]) {
    put_number(buffer, fields.len() as u64);
    for (name, value) in fields {
        put_bytes(buffer, name);
        put_bytes(buffer, value);
    }
}

fn put_parts(buffer: &mut Vec<u8>, parts: &[(u64, Vec<u8>)]) {
    put_number(buffer, parts.len() as u64);
    for (at_ns, bytes) in parts {
        put_number(buffer, *at_ns);
        put_bytes(buffer, bytes);
    }
}

fn broken() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what was put aside of a recording was changed",
    )
}

fn number(rest: &mut &[u8]) -> io::Result<u64> {
    let (number, behind) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
    *rest = behind;
    Ok(u64::from_le_bytes(*number))
}

fn bytes(rest: &mut &[u8]) -> io::Result<Vec<u8>> {
    let length = usize::try_from(number(rest)?).map_err(|_error| broken())?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or_else(broken)?;
    *rest = behind;
    Ok(bytes.to_vec())
}

fn fields(rest: &mut &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let count = number(rest)?;
    (0..count)
        .map(|_| Ok((bytes(rest)?, bytes(rest)?)))
        .collect()
}

fn parts(rest: &mut &[u8]) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let count = number(rest)?;
    (0..count)
        .map(|_| Ok((number(rest)?, bytes(rest)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_as_they_were_from_memory_and_from_a_file() {
        let field = |text: &str| (text.as_bytes().to_vec(), vec![0, 255]);
        let requests = [
            Request::default(),
            Request {
                headers: vec![field(":path"), field("x")],
                body: vec![(0, b"a".to_vec()), (7, Vec::new())],
                trailers: vec![field("t")],
                frames: Some(vec![(3, vec![1; 1_000])]),
            },
            Request {
                frames: Some(Vec::new()),
                ..Request::default()
            },
        ];
        for in_memory_bytes in [0, 1 << 20] {
            let mut spool = Spool::new(in_memory_bytes);
            let places: Vec<u64> = requests
                .iter()
                .map(|request| spool.put(request).unwrap())
                .collect();
            for (place, request) in places.iter().zip(&requests).rev() {
                assert_eq!(spool.get(*place).unwrap(), *request);
            }
        }
    }
}
