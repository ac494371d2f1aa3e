//! Connections, from the driver's side.

use super::{InputError, Proxy};
use crate::attributes::{StreamAttributes, UpstreamAttributes};
use crate::connection::{ClosedBy, ConnectionId, ConnectionOutput};
use crate::world::streams::{Stream, StreamKind};

/// Position of the listener's network filters.
const NETWORK_CHAIN: usize = 1;

impl Proxy {
    /// Opens a client's connection on a worker: the network filters learn of it at once.
    ///
    /// # Errors
    ///
    /// No such worker → [`InputError::UnknownWorker`].
    pub fn open_connection(
        &mut self,
        worker: u32,
        attributes: StreamAttributes,
    ) -> Result<ConnectionId, InputError> {
        if worker >= self.home.workers {
            return Err(InputError::UnknownWorker);
        }
        let now_ns = self.home.now_ns;
        let connection = Stream::new(
            StreamKind::Connection,
            worker,
            NETWORK_CHAIN,
            now_ns,
            attributes,
        );
        let id = self.home.streams.add(connection);
        self.run(|run| run.begin_connection(id));
        Ok(ConnectionId(id))
    }

    /// Gives bytes of the client.
    ///
    /// # Errors
    ///
    /// No such connection → [`InputError::UnknownConnection`]; the client's end has come →
    /// [`InputError::OutOfOrder`].
    pub fn downstream_data(
        &mut self,
        connection: ConnectionId,
        data: &[u8],
        end_stream: bool,
    ) -> Result<(), InputError> {
        if self.connection(connection)?.request.complete {
            return Err(InputError::OutOfOrder("the end has come already"));
        }
        self.run(|run| run.give_downstream(connection.0, data, end_stream));
        Ok(())
    }

    /// Gives bytes of the upstream. With `end_stream` the filters are told that it closed, too.
    ///
    /// # Errors
    ///
    /// No such connection → [`InputError::UnknownConnection`]; the upstream's end has come →
    /// [`InputError::OutOfOrder`].
    pub fn upstream_data(
        &mut self,
        connection: ConnectionId,
        data: &[u8],
        end_stream: bool,
    ) -> Result<(), InputError> {
        if self.connection(connection)?.response.complete {
            return Err(InputError::OutOfOrder("the end has come already"));
        }
        self.run(|run| run.give_upstream(connection.0, data, end_stream));
        Ok(())
    }

    /// Tells which cluster and endpoint serve the connection.
    ///
    /// # Errors
    ///
    /// No such connection → [`InputError::UnknownConnection`].
    pub fn set_connection_upstream(
        &mut self,
        connection: ConnectionId,
        cluster: &str,
        upstream: UpstreamAttributes,
    ) -> Result<(), InputError> {
        let found = self.connection(connection)?;
        cluster.clone_into(&mut found.attributes.cluster_name);
        found.upstream = upstream;
        Ok(())
    }

    /// Ends a connection: close, done → log → delete for every filter. It is forgotten once its outputs
    /// are drained.
    ///
    /// # Errors
    ///
    /// No such connection → [`InputError::UnknownConnection`].
    pub fn close_connection(
        &mut self,
        connection: ConnectionId,
        by: ClosedBy,
    ) -> Result<(), InputError> {
        self.connection(connection)?;
        self.run(|run| run.end_connection(connection.0, by));
        Ok(())
    }

    /// Next thing that left the network filters. `None`: nothing for now, or no such connection. A
    /// closed connection is forgotten with the first `None`.
    pub fn poll_connection(&mut self, connection: ConnectionId) -> Option<ConnectionOutput> {
        let found = self.home.streams.get_mut(connection.0)?;
        let output = found.connection_outputs.pop_front();
        if output.is_none() && found.closed {
            self.home.streams.remove(connection.0);
        }
        output
    }

    /// Whether the connection is open.
    #[must_use]
    pub fn is_connected(&self, connection: ConnectionId) -> bool {
        let found = self.home.streams.get(connection.0);
        found.is_some_and(|found| !found.closed)
    }

    fn connection(&mut self, connection: ConnectionId) -> Result<&mut Stream, InputError> {
        self.home
            .streams
            .get_mut(connection.0)
            .filter(|found| !found.closed)
            .ok_or(InputError::UnknownConnection)
    }
}
