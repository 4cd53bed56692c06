# A wire that is late: what a node of cluster.sh sends reaches the bridge so many milliseconds after it was sent.
#
#   late.py INTERFACE FILE     in the controller's namespaces; INTERFACE is the node's end there (to-n2)
#
# FILE holds the milliseconds; it may change, and when it is gone the wire is as it was. For kernels without netem. Frames
# go through a packet socket and a tap device, both with the header that tells of segmentation and checksums still to be done.
#
# Does not: lose, reorder or duplicate.
import collections
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time

interface, path = sys.argv[1:]
tap = 'late-' + interface[-8:]
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING = 263, 15, 4


def ip(*args):
    subprocess.run(['ip', 'link', *args], check=True)


def milliseconds():
    try:
        with open(path) as file:
            return float(file.read() or 0)
    except FileNotFoundError:
        return None


bridge_side = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(bridge_side, TUNSETIFF, struct.pack('16sH14x', tap.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
node_side = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
node_side.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
node_side.bind((interface, 0))
ip('set', interface, 'nomaster')
ip('set', interface, 'promisc', 'on')
ip('set', tap, 'master', 'bridge', 'up')
print('late', flush=True)
waiting = collections.deque()
delay, asked = milliseconds(), time.monotonic()
while delay is not None:
    now = time.monotonic()
    timeout = max(0, waiting[0][0] - now) if waiting else 0.1
    readable, _, _ = select.select([bridge_side, node_side], [], [], min(timeout, 0.1))
    if node_side in readable:
        frame, address = node_side.recvfrom(1 << 17)
        if address[2] != PACKET_OUTGOING:
            waiting.append((time.monotonic() + delay / 1000, frame))
    if bridge_side in readable:
        try:
            node_side.send(os.read(bridge_side, 1 << 17))
        except OSError:
            pass  # A full queue: the network loses a frame now and then.
    now = time.monotonic()
    while waiting and waiting[0][0] <= now:
        os.write(bridge_side, waiting.popleft()[1])
    if now - asked > 0.1:
        delay, asked = milliseconds(), now
ip('set', interface, 'promisc', 'off')
ip('set', interface, 'master', 'bridge')
os.close(bridge_side)
