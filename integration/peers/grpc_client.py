"""Calls a gRPC service through xDS, as any proxyless client would: grpc_client.py TARGET METHOD MESSAGE [COUNT].

The bootstrap comes from GRPC_XDS_BOOTSTRAP_CONFIG. Prints a line of JSON for each call: {"code": "OK", "reply": "..."}.
"""
import json
import sys

import grpc


def main() -> int:
    target, method, message = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    channel = grpc.insecure_channel(target)
    call = channel.unary_unary(method, request_serializer=str.encode, response_deserializer=bytes.decode)
    failed = 0
    for _ in range(count):
        try:
            print(json.dumps({"code": "OK", "reply": call(message, timeout=10, wait_for_ready=True)}), flush=True)
        except grpc.RpcError as error:
            failed += 1
            print(json.dumps({"code": error.code().name, "reply": error.details()}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
