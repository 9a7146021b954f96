import Foundation

/// A web server with one file, which can be as bad as servers and connections are.
public final class TestServer: @unchecked Sendable {
    /// How a request is answered.
    public struct Answer: Sendable {
        public var content: Data
        public var status: Int?
        /// Bytes after which the connection breaks.
        public var breakAfter = Int.max
        /// Bytes after which nothing comes any more, until the other side has had enough.
        public var holdAfter = Int.max
        public var honoursRanges = true

        public init(_ content: Data, status: Int? = nil) {
            self.content = content
            self.status = status
        }
    }

    public let url: URL

    private let socket: Int32
    private let answer: @Sendable (_ request: Int) -> Answer
    private let lock = NSLock()
    private var asked: [String] = []

    /// The ranges that were asked for, `all` where there was none.
    public var ranges: [String] { lock.withLock { asked } }

    /// Answers request after request until this object goes away.
    public init(_ answer: @escaping @Sendable (_ request: Int) -> Answer) throws {
        self.answer = answer
        #if canImport(Glibc)
        let stream = Int32(SOCK_STREAM.rawValue)
        #else
        let stream = SOCK_STREAM
        #endif
        let socket = Foundation.socket(AF_INET, stream, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let opened = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(socket, address, length) == 0 && listen(socket, 8) == 0 && getsockname(socket, address, &length) == 0
            }
        }
        self.socket = socket
        guard opened else { throw POSIXError(.EADDRNOTAVAIL) }
        url = URL(string: "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))/model.gguf")!
        // Whoever breaks connections writes into broken ones.
        signal(SIGPIPE, SIG_IGN)
        let thread = Thread { [weak self] in
            while true {
                let connection = accept(socket, nil, nil)
                guard connection >= 0, let self else { break }
                serve(connection)
                close(connection)
            }
            close(socket)
        }
        thread.start()
    }

    deinit {
        // Wakes the thread, which closes it.
        shutdown(socket, Int32(SHUT_RDWR))
    }

    private func serve(_ connection: Int32) {
        guard let request = head(connection) else { return }
        let range = request.split(separator: "\r\n").first { $0.lowercased().hasPrefix("range: bytes=") }?.dropFirst(13)
        let number = lock.withLock {
            asked.append(range.map(String.init) ?? "all")
            return asked.count
        }
        let answer = answer(number)
        let start = answer.honoursRanges ? range.flatMap { Int($0.dropLast()) } ?? 0 : 0
        let size = answer.content.count
        let status = answer.status ?? (start >= size ? 416 : start > 0 ? 206 : 200)
        var lines = ["HTTP/1.1 \(status) it is so", "Connection: close"]
        if status == 206 { lines.append("Content-Range: bytes \(start)-\(size - 1)/\(size)") }
        let body = status < 300 ? answer.content.dropFirst(start) : Data()
        lines.append("Content-Length: \(body.count)")
        let lead = Data((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
        guard write(connection, lead + body.prefix(min(answer.breakAfter, answer.holdAfter))) else { return }
        var nothing: UInt8 = 0
        if answer.holdAfter < body.count { _ = recv(connection, &nothing, 1, 0) }
    }

    /// The head of a request.
    private func head(_ connection: Int32) -> String? {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !bytes.suffix(4).elementsEqual("\r\n\r\n".utf8) {
            let count = recv(connection, &buffer, buffer.count, 0)
            guard count > 0 else { return nil }
            bytes += buffer.prefix(count)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func write(_ connection: Int32, _ data: Data) -> Bool {
        var rest = data
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, 0) }
            guard sent > 0 else { return false }
            rest = rest.dropFirst(sent)
        }
        return true
    }
}
