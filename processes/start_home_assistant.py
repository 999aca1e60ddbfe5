"""Starts Home Assistant without the parts that a demo of a meter has no use for.

Of what it brings by default, voice, cameras and radio want ffmpeg, libturbojpeg, a
compiler and more of the internet than package mirrors. The onboarding step that is
left out is the one that adds a weather service, a web radio and text-to-speech; the
location that it asks for is in the configuration file.
"""

import sys
from types import ModuleType

from homeassistant import __main__ as home_assistant, bootstrap
from homeassistant.components.onboarding import const as onboarding

bootstrap.DEFAULT_INTEGRATIONS.difference_update(
    {
        "ai_task",
        "assist_satellite",
        "camera",
        "conversation",
        "image_processing",
        "infrared",
        "radio_frequency",
        "stt",
        "tts",
        "wake_word",
    }
)
# Imported wherever actions are described, for the names of their features alone.
for name in ("ai_task", "assist_satellite", "camera"):
    sys.modules[f"homeassistant.components.{name}"] = ModuleType(name)

onboarding.STEPS.remove(onboarding.STEP_CORE_CONFIG)

sys.exit(home_assistant.main())
