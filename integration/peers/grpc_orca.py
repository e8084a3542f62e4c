"""A gRPC service that reports its load beside requests: grpc_orca.py NAME RATE UTILIZATION.

Serves /test.Echo/Unary, which answers with NAME, and xds.service.orca.v3.OpenRcaService, which says RATE requests a second
at UTILIZATION as often as it is asked to. Prints its port.
"""
import sys
import time
from concurrent import futures

import grpc
from xds.data.orca.v3 import orca_load_report_pb2
from xds.service.orca.v3 import orca_pb2


def main() -> None:
    name, rate, utilization = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])

    def reports(request, context):
        every = request.report_interval.seconds + request.report_interval.nanos / 1e9
        while context.is_active():
            yield orca_load_report_pb2.OrcaLoadReport(rps_fractional=rate, cpu_utilization=utilization)
            time.sleep(every)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    echo = grpc.unary_unary_rpc_method_handler(lambda _request, _context: name.encode())
    stream = grpc.unary_stream_rpc_method_handler(
        reports,
        request_deserializer=orca_pb2.OrcaLoadReportRequest.FromString,
        response_serializer=orca_load_report_pb2.OrcaLoadReport.SerializeToString,
    )
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("test.Echo", {"Unary": echo}),
        grpc.method_handlers_generic_handler("xds.service.orca.v3.OpenRcaService", {"StreamCoreMetrics": stream}),
    ))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
