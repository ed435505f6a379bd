"""A machine of script/rdma-vm on which a test starts ranks: this one, or the other one, which serves
itself to the first."""

import os
import signal
import subprocess
import tempfile
import time
import xmlrpc.client
import xmlrpc.server

PORT = 7000
# The network between the machines that no test disturbs is the second.
ADDRESS = "10.0.1.2"
PATIENCE = 60


class Machine:
    def __init__(self):
        self.processes, self.folder = [], tempfile.mkdtemp()

    def start(self, words, env):
        """The process's number."""
        number = len(self.processes)
        with open(self._output(number, "out"), "wb") as out, open(self._output(number, "err"), "wb") as err:
            self.processes.append(subprocess.Popen(words, env={**os.environ, **env}, stdout=out,
                                                   stderr=err, stdin=subprocess.DEVNULL))
        return number

    def joined(self, number, seconds):
        """Whether it has printed something, before it ended and in time."""
        end = time.monotonic() + seconds
        while not os.path.getsize(self._output(number, "out")):
            if time.monotonic() > end or self.processes[number].poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def signal(self, number, which):
        self.processes[number].send_signal(which)

    def wait(self, number, seconds):
        """Exit code, and what it printed on stdout and stderr; it is killed when it does not end."""
        process, late = self.processes[number], False
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            late = True
            process.kill()
            process.wait()
        texts = [open(self._output(number, name), errors="replace").read() for name in ("out", "err")]
        return ["late" if late else process.returncode, *texts]

    def shell(self, line):
        done = subprocess.run(line, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return [done.returncode, done.stdout]

    def _output(self, number, name):
        return os.path.join(self.folder, f"{number}.{name}")


def serve():
    """Until the first machine says that it is over."""
    machine, over = Machine(), []
    machine.end = lambda: over.append(True)
    with xmlrpc.server.SimpleXMLRPCServer((ADDRESS, PORT), logRequests=False, allow_none=True) as server:
        server.register_instance(machine)
        while not over:
            server.handle_request()


def other():
    """The second machine, once it serves."""
    machine = xmlrpc.client.ServerProxy(f"http://{ADDRESS}:{PORT}", allow_none=True)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            machine.shell("true")
            return machine
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


KILL, STOP = int(signal.SIGKILL), int(signal.SIGSTOP)
