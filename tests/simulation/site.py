"""A host with its disk and whatever process of the agent runs there; who starts it again after a crash."""

from tests.simulation.agent import AgentProcess, Habits
from tests.simulation.disk import Journal
from tests.simulation.setting import Setting
from tests.simulation.truth import TrueHost

RESTART_S_MAX = 4.0


class Site:
    """One host of the run."""

    def __init__(self, setting: Setting, host: TrueHost, habits: Habits) -> None:
        self.host = host
        self.agent: AgentProcess | None = None
        self._setting = setting
        self._habits = habits
        self.journal = Journal()
        self._starts = 0

    def start(self) -> None:
        """Start the agent, unless it runs."""
        if self.agent is None:
            self._starts += 1
            instance = f"{self.host.id}/{self._starts}"
            self.agent = AgentProcess(
                self._setting, self.host, self.journal, instance, habits=self._habits, died=self._died
            )

    def _died(self) -> None:
        self.agent = None
        self._setting.timeline.after(self._setting.rng.uniform(0.05, RESTART_S_MAX), self.start)

    def reboot(self) -> None:
        """The host loses power: nobody says goodbye, so the scheduler's end stays half-open for a while."""
        rng = self._setting.rng
        for connection in self._setting.net.of_host(self.host.id):
            connection.cut(1e9, rng.uniform(0.1, 15.0))
        if self.agent is not None:
            self.agent.kill()
        self.host.reboot(self._setting.timeline.now_s)
        self._setting.ledger.rebooted(self.host.id)

    def changed(self) -> None:
        """Something about the host's tasks has changed."""
        if self.agent is not None:
            self.agent.hint()
