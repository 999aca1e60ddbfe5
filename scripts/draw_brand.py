"""Draws the pictures in custom_components/emu_professional/brand.

An own drawing: a meter for the DIN rail with its display, three phases and their
terminals. Needs Debian's packages chromium, optipng and fonts-inter.
"""

from pathlib import Path
import subprocess
from tempfile import TemporaryDirectory

from PIL import Image

BRAND = (
    Path(__file__).parent.parent / "custom_components" / "emu_professional" / "brand"
)

# body, terminals, display, bolt, words
LIGHT = ("#1d3b50", "#56788f", "#d8f0e6", "#1d3b50", "#1d3b50")
DARK = ("#35627f", "#8fb0c4", "#dff5ec", "#1d3b50", "#f2f6f8")

ICON = """
<rect x="14" width="228" height="256" rx="34" fill="{0}"/>
<g fill="{1}">
  <circle cx="70" cy="25" r="10"/><circle cx="128" cy="25" r="10"/>
  <circle cx="186" cy="25" r="10"/>
</g>
<rect x="42" y="50" width="172" height="104" rx="16" fill="{2}"/>
<path d="M139 60 96 109h27l-9 35 46-51h-29z" fill="{3}" stroke="{3}"
  stroke-width="5" stroke-linejoin="round"/>
<g stroke-width="30" stroke-linecap="round">
  <path d="M70 191v29" stroke="#f4a640"/>
  <path d="M128 191v29" stroke="#ec6a54"/>
  <path d="M186 191v29" stroke="#54b9e4"/>
</g>
"""
LOGO = """
<g transform="translate(-7) scale(.5)">{icon}</g>
<g fill="{4}" font-family="Inter">
  <text x="140" y="58" font-size="52" font-weight="700" letter-spacing="1">EMU</text>
  <text x="140" y="111" font-size="40" font-weight="500">Professional II</text>
</g>
"""


def draw(name: str, drawing: str, scale: int, *, square: bool) -> None:
    """Make one picture of a drawing."""
    page = f"""
      <style>body {{ margin: 0 }} svg {{ display: block }}</style>
      <svg xmlns="http://www.w3.org/2000/svg" width="600" height="600">{drawing}</svg>"""
    with TemporaryDirectory() as folder:
        source = Path(folder, "drawing.html")
        source.write_text(page)
        picture = BRAND / f"{name}.png"
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-background-networking", "--hide-scrollbars"),
                f"--user-data-dir={folder}/profile",
                "--default-background-color=00000000",
                "--window-size=600,600",
                f"--force-device-scale-factor={scale}",
                f"--screenshot={picture}",
                source.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
    with Image.open(picture) as drawn:
        cut = drawn.crop(
            (0, 0, 256 * scale, 256 * scale) if square else drawn.getbbox()
        )
    cut.save(picture)
    subprocess.run(
        ["optipng", "-quiet", "-o5", "-i1", "-strip", "all", picture], check=True
    )


def main() -> None:
    """Draw everything for bright and for dark backgrounds, also for sharp screens."""
    BRAND.mkdir(exist_ok=True)
    for prefix, colours in (("", LIGHT), ("dark_", DARK)):
        icon = ICON.format(*colours)
        logo = LOGO.format(*colours, icon=icon)
        for suffix, scale in (("", 1), ("@2x", 2)):
            draw(f"{prefix}icon{suffix}", icon, scale, square=True)
            draw(f"{prefix}logo{suffix}", logo, scale, square=False)


if __name__ == "__main__":
    main()
